"""export_config and import_config: output, changes and errors."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flags.models import Flag
from flags.services import flag_update
from ilara_admin.config import store
from ilara_admin.config.document import read, write
from ilara_admin.config.plan import make_plan
from ilara_admin.core.changes import Conflict
from ilara_admin.core.names import name_problem
from ilara_admin.core.projects import environment_create
from ilara_admin.models import AuditEntry, Environment
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update
from tests.factories import ACTOR, make_environment
from tests.segments.language.test_agreement import rules as drawn_rules
from tests.threads import at_once

pytestmark = pytest.mark.django_db

LEVEL = {"field": "level", "operator": ">=", "value": 40}
RULE = {"operator": "AND", "conditions": [LEVEL]}
STARTER = """{
  "flags": {
    "new-feature": {
"""
DOCUMENT = """{"version": 1, "segments": {
  "a": {"rule": {"operator": "AND", "conditions": [
    {"field": "segment", "operator": "in", "value": ["whales"]}]}},
  "whales": {"name": "Whales", "rule": {"operator": "AND", "conditions": [
    {"field": "total_revenue", "operator": ">=", "value": 100}]}}}}
"""


def run(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=out)
    return out.getvalue()


def refusal(*args: str) -> CommandError:
    with pytest.raises(CommandError) as raised:
        run(*args)
    return raised.value


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        path = tmp_path / "config.json"
        path.write_text(text)
        return str(path)

    return written


def add(environment: Environment, key: str, rule: Any = RULE) -> Segment:
    return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)


def state(environment: Environment) -> tuple[str, int, int]:
    version = Environment.objects.get(pk=environment.pk).config_version
    return run("export_config", str(environment)), version, AuditEntry.objects.count()


def test_export__is_the_starter_segments_and_flags(environment: Environment) -> None:
    text = run("export_config", str(environment))
    assert text.startswith(STARTER)
    assert text.endswith("}\n")
    config = read(text.encode())
    assert [list(config.entries(kind)) for kind in ("flags", "segments")] == [
        ["new-feature", "new_tutorial"], ["beta-testers"]
    ]  # fmt: skip
    assert run("export_config", str(environment)) == text


def test_export_into_a_file__is_the_same_bytes(environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    add(environment, "é".encode().hex())
    assert run("export_config", str(environment), "--output", str(path)) == ""
    assert path.read_bytes() == run("export_config", str(environment)).encode()
    problem = refusal("export_config", str(environment), "--output", str(tmp_path))
    assert str(problem) == f"Cannot write {tmp_path}: Is a directory."


def test_import__shows_and_applies_its_plan_once(
    environment: Environment, file: Callable[[str], str]
) -> None:
    command = ("import_config", str(environment), file(DOCUMENT))
    before = state(environment)
    problem = refusal(*command)
    assert (str(problem), problem.returncode) == ("Nothing was changed. Run with --apply.", 2)
    assert state(environment) == before
    assert run(*command, "--apply", "--reason", "Sync") == (
        "+ segment whales\n"
        "    total_revenue is at least 100\n"
        "+ segment a\n"
        "    is in the segment “whales”\n"
        "2 to create, 0 to change, 0 to remove, 0 unchanged. 1 not in the document, not changed.\n"
        f"Applied. {environment} matches the document from the next request on.\n"
    )
    entries = AuditEntry.objects.order_by("-id")[:2]
    assert [(each.action, each.object_id, each.actor_name, each.reason) for each in entries] == [
        ("segment.created", "a", "manage.py import_config", "Sync"),
        ("segment.created", "whales", "manage.py import_config", "Sync"),
    ]
    after = state(environment)
    assert run(*command, "--apply") == (
        "0 to create, 0 to change, 0 to remove, 2 unchanged. 1 not in the document, not changed.\n"
        f"No changes: {environment} matches the document.\n"
    )
    assert run(*command) == run(*command, "--apply")
    assert state(environment) == after


def test_standard_input__is_read(environment: Environment) -> None:
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(DOCUMENT.encode()))):
        run("import_config", str(environment), "-", "--apply")
    assert Segment.objects.filter(environment=environment).count() == 3


@pytest.mark.parametrize(("answer", "created"), [("yes", 2), ("y", 0), ("", 0), (EOFError, 0)])
def test_terminal__gets_a_prompt(
    answer: Any, created: int, environment: Environment, file: Callable[[str], str]
) -> None:
    command = ("import_config", str(environment), file(DOCUMENT))
    with (
        mock.patch("sys.stdin.isatty", return_value=True),
        mock.patch("builtins.input", side_effect=[answer]) as prompt,
    ):
        if created:
            run(*command)
        else:
            problem = refusal(*command)
            assert (str(problem), problem.returncode) == ("Nothing was changed.", 1)
    prompt.assert_called_once_with(f"Apply to {environment}? Type “yes”: ")
    assert Segment.objects.filter(environment=environment).count() == 1 + created


def test_prune__deletes_segments_and_archives_flags_not_in_the_document(
    environment: Environment, file: Callable[[str], str]
) -> None:
    add(environment, "whales")
    add(environment, "a", {"operator": "AND", "conditions": [
        {"field": "segment", "operator": "in", "value": ["whales"]}]})  # fmt: skip
    wanted = read(run("export_config", str(environment)).encode())
    del wanted.entries("segments")["a"], wanted.entries("segments")["whales"]
    del wanted.entries("flags")["new-feature"]
    command = ("import_config", str(environment), file(write(wanted)), "--prune", "--apply")
    assert run(*command).startswith(
        "- flag new-feature (archived)\n- segment a\n- segment whales\n"
        "0 to create, 0 to change, 3 to remove, 2 unchanged.\n"
    )
    assert Segment.objects.get(environment=environment).key == "beta-testers"
    assert Flag.objects.of(environment).archived(True).get().key == "new-feature"
    assert "No changes" in run(*command)


def test_faults__are_listed_up_to_20(environment: Environment, file: Callable[[str], str]) -> None:
    wrong = ", ".join(f'"s{number:02}": 1' for number in range(25))
    path = file(f'{{"version": 1, "segments": {{{wrong}}}}}')
    lines = str(refusal("import_config", str(environment), path, "--apply")).splitlines()
    assert lines[:2] == [
        "Nothing was changed.",
        '  segments["s00"]: Must be an object with description, name, rule.',
    ]
    assert (len(lines), lines[-1]) == (22, "  and 5 more")


def test_missing_file__is_reported(environment: Environment) -> None:
    problem = refusal("import_config", str(environment), "/no/such", "--apply")
    assert str(problem) == "Cannot read /no/such: No such file or directory."


def test_failed_step__rolls_back_the_previous_ones(
    environment: Environment, file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(environment)

    def failing(**given: Any) -> Segment:
        segment = segment_create(**given)
        if given["key"] == "a":
            raise RuntimeError
        return segment

    monkeypatch.setattr(store, "segment_create", failing)
    with pytest.raises(RuntimeError):
        run("import_config", str(environment), file(DOCUMENT), "--apply")
    assert state(environment) == before


def change_segment(environment: Environment) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    segment_update(segment, name="Other", rule=segment.rule, description="", actor=ACTOR)


def change_flag(environment: Environment) -> None:
    flag = Flag.objects.get(environment=environment, key="new-feature")
    flag_update(
        flag, document=flag.spec, base_revision=flag.revision, actor=ACTOR,
        details={**flag.details, "owner": "Ada"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "change", [change_segment, change_flag, lambda environment: add(environment, "whales")]
)
def test_change_after_the_plan__is_not_overwritten(
    change: Callable[[Environment], object],
    environment: Environment,
    file: Callable[[str], str],
) -> None:
    text = DOCUMENT.replace('"segments"', '"flags": {}, "segments"')

    def answer(_: str) -> str:
        change(environment)
        return "yes"

    with (
        mock.patch("sys.stdin.isatty", return_value=True),
        mock.patch("builtins.input", side_effect=answer),
    ):
        problem = refusal("import_config", str(environment), file(text))
    assert "was changed after this plan was made. Nothing was applied" in str(problem)
    assert not Segment.objects.filter(environment=environment, key="a").exists()


def test_change_outside_the_document__is_no_conflict(
    environment: Environment,
) -> None:
    plan = make_plan(store.read_config(environment), read(DOCUMENT.encode()), prune=False)
    change_flag(environment)
    store.apply_plan(environment, plan, actor=ACTOR)
    assert Segment.objects.filter(environment=environment).count() == 3


def test_flags_with_all_fields__are_copied_to_another_environment(
    environment: Environment, file: Callable[[str], str]
) -> None:
    text = """{"version": 1, "segments": {"s": {"rule": {"operator": "NOT", "conditions": [
      {"field": "level", "operator": "is_set"}]}}}, "flags": {
      "a": {"owner": "Ada", "expected_end": "2026-12-31", "archived": true, "enabled": true,
        "tags": ["shop", "economy", "shop"], "links": [{"label": "Ticket", "url": "https://a/1"}],
        "value_type": "json", "variants": [{"key": "x", "value": {"n": [1, 2.5, null]}}],
        "default": "x", "off": "x", "prerequisites": [{"flag": "b", "variants": ["enabled"]}]},
      "b": {"value_type": "boolean", "default": "disabled", "off": "disabled", "variants": [
          {"key": "enabled", "value": true}, {"key": "disabled", "value": false}],
        "rules": [{"id": "r", "segment": "s", "variant": "enabled", "conditions":
            {"operator": "AND", "conditions": [{"field": "x", "operator": "==", "value": 1.5}]},
          "ramp": {"from": 0, "to": 100000, "start": "2026-01-01T00:00:00Z",
                   "end": "2026-02-01T00:00:00Z"}}]}}}"""
    run("import_config", str(environment), file(text), "--apply")
    exported = run("export_config", str(environment))
    other = environment.project.environments.get(slug="test")
    assert "6 to create" in run("import_config", str(other), file(exported), "--apply")
    assert run("export_config", str(other)) == exported
    assert "No changes" in run("import_config", str(environment), file(exported), "--prune")


# --- Round trip -----------------------------------------------------------------------------------

NAMED = ("rule", "listed", "chained", "patterned")  # by the rules that are drawn
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = text.filter(lambda name: not name or not name_problem(name))


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(rules=st.lists(drawn_rules, min_size=3, max_size=3), name=names, number=st.floats(
    allow_nan=False, allow_infinity=False))  # fmt: skip
def test_exported_and_imported_elsewhere__is_exported_as_the_same_bytes(
    environment: Environment, rules: list[Any], name: str, number: float
) -> None:
    here, there = (
        environment_create(
            project=environment.project, slug=f"e{Environment.objects.count()}", actor=ACTOR
        )
        for _ in range(2)
    )
    for key in NAMED:
        add(here, key)
    for index, rule in enumerate(rules):
        segment_create(
            environment=here, key=f"Drawn-{index}", name=name, description=name, rule=rule,
            actor=ACTOR,
        )  # fmt: skip
    add(here, "number", {"operator": "AND", "conditions": [{**LEVEL, "value": number}]})
    exported = run("export_config", str(here))
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(exported.encode()))):
        run("import_config", str(there), "-", "--apply")
    assert run("export_config", str(there)) == exported
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(exported.encode()))):
        assert "No changes" in run("import_config", str(there), "-", "--prune")


# --- Concurrency ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_concurrent_imports_and_edits__apply_whole_or_not_at_all() -> None:
    environment = make_environment()
    wanted = read(DOCUMENT.encode())
    plan = make_plan(store.read_config(environment), wanted, prune=False)
    beta = Segment.objects.get(environment=environment)

    def act(number: int) -> str:
        try:
            if number % 4 == 0:
                change_flag(environment)
            elif number % 4 == 1:
                segment_update(beta, name=f"{number}", rule=RULE, description="", actor=ACTOR)
            elif number % 4 == 2:
                segment_delete(add(environment, f"x{number}"), actor=ACTOR)
            else:
                store.apply_plan(environment, plan, actor=ACTOR)
        except Conflict:
            return "conflict"
        return "done"

    results = at_once(act, range(20))
    applied = Segment.objects.filter(environment=environment, key__in=["a", "whales"]).count()
    assert results[3::4].count("done") == applied // 2 <= 1
    assert applied in (0, 2)
