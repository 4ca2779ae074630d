"""The golden cases of flag evaluation in cases/*.json, also for authors of clients.

    {"description": the topic of the file,
     "segments": {"<key>": a rule of segments/language/parser.py},
     "flags": {"<key>": {"salt", "archived" (false), "document": as in flags/engine/document.py}},
     "cases": [{"name", "flag": "<key>",
                "player": {"id", "attributes" ({}), "facts" ({}): the built-in fields},
                "now": the clock (2026-01-01T00:00:00Z),
                "overrides": {"<flag key>": variant} ({}),
                "expected": {"value", "variant_key", "reason", "segment_id", "rule_index"}}]}

Each file has all the flags and segments that its cases use. Values in parentheses are defaults of
missing keys. `rule_index` counts from 0 and is null unless a rule decided. Buckets
are those of flags/engine/bucketing.py, whose vectors are in test_bucketing.py.
"""

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flags.engine.document import (
    FlagDocument,
    ValueType,
    Variant,
    check_document,
    decode_document,
)
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    Reason,
    compile_flag,
    decide,
    evaluate,
    for_everyone,
    served_variants,
)
from segments.language.compiler import Subject, compile_rule
from segments.language.parser import parse

FILES = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).parent / "cases").glob("*.json")
}
CASES = {
    f"{stem}: {case['name']}": (stem, case)
    for stem, file in FILES.items()
    for case in file["cases"]
}
NOW = "2026-01-01T00:00:00Z"


def compiled(file: dict[str, Any]) -> dict[str, CompiledFlag]:
    rules = {key: parse(rule) for key, rule in file.get("segments", {}).items()}
    segments = {key: compile_rule(rule) for key, rule in rules.items()}
    flags: dict[str, CompiledFlag] = {}
    for number, (key, flag) in zip(count(1), file["flags"].items(), strict=False):
        document = decode_document(flag["document"])
        check_document(document)
        flags[key] = compile_flag(
            key=key,
            salt=flag["salt"],
            revision=1,
            document=document,
            archived=flag.get("archived", False),
            segments=segments,
            segment_rules=rules,
            others=flags,
            id=number,
        )
    return flags


COMPILED = {stem: compiled(file) for stem, file in FILES.items()}


def context_of(case: dict[str, Any], flags: dict[str, CompiledFlag]) -> EvaluationContext:
    player, now = case["player"], datetime.fromisoformat(case.get("now", NOW))
    subject = Subject(player.get("attributes", {}), player.get("facts", {}), now)
    overrides = {flags[key].id: variant for key, variant in case.get("overrides", {}).items()}
    return EvaluationContext(player["id"], subject, overrides, now)


def test_cases__cover_every_reason() -> None:
    assert len(CASES) >= 120
    assert {case["expected"]["reason"] for _, case in CASES.values()} == set(Reason)


@pytest.mark.parametrize("name", CASES)
def test_decision__equals_the_golden_case(name: str) -> None:
    stem, case = CASES[name]
    flag = COMPILED[stem][case["flag"]]
    decision = evaluate(flag, context_of(case, COMPILED[stem]))
    assert {
        "value": decision.variant.value,
        "variant_key": decision.variant.key,
        "reason": decision.reason,
        "segment_id": decision.segment_id,
        "rule_index": decision.rule_index,
    } == case["expected"]


@pytest.mark.parametrize("name", CASES)
def test_constant__equals_the_decision(name: str) -> None:
    """Bulk evaluation does not evaluate constant flags."""
    stem, case = CASES[name]
    flag, context = COMPILED[stem][case["flag"]], context_of(case, COMPILED[stem])
    if flag.constant is not None and not (flag.is_on and flag.id in context.overrides):
        assert evaluate(flag, context) == flag.constant


@pytest.mark.parametrize(
    ("stem", "key", "constant"),
    [
        ("state", "everyone", True),
        ("state", "switched-off", True),
        ("state", "archived", True),
        ("state", "no-rules", True),
        ("state", "three", False),
        ("rollout", "at-0", True),
        ("rollout", "at-99999", False),
        ("rollout", "at-100000", True),
        ("split", "halves", False),
        ("segments", "beta", False),
        ("schedule", "steps", False),
        ("schedule", "only-end", False),
        ("prerequisites", "needs-off", False),
        ("prerequisites", "itself-off", True),
    ],
)
def test_flags_without_requirements__are_constant(stem: str, key: str, constant: bool) -> None:
    assert (COMPILED[stem][key].constant is not None) is constant


@pytest.mark.parametrize("name", CASES)
def test_decision_for_everyone__equals_that_of_each_player(name: str) -> None:
    stem, case = CASES[name]
    flag, context = COMPILED[stem][case["flag"]], context_of(case, COMPILED[stem])
    common = for_everyone(flag, context.at, {})
    if common is not None and not context.overrides:
        assert evaluate(flag, context) == common


@pytest.mark.parametrize(
    ("stem", "key", "same"),
    [
        ("state", "switched-off", True),
        ("state", "no-rules", True),
        ("rollout", "at-99999", False),
        ("split", "halves", False),
        ("segments", "beta", False),
        ("schedule", "only-end", True),
        ("prerequisites", "needs-off", True),
    ],
)
def test_flag__is_the_same_for_everyone(stem: str, key: str, same: bool) -> None:
    found = for_everyone(COMPILED[stem][key], datetime.fromisoformat(NOW), {})
    assert (found is not None) is same


@pytest.mark.parametrize(
    ("values", "served"),
    [
        ([5, 4.99], [5.0, 4.99]),
        ([5, 5.0], [5.0, 5.0]),
        ([5, 10], [5, 10]),
        ([10**400, 0.5], [10**400, 0.5]),  # no fraction can hold it
    ],
)
def test_numbers_of_a_flag__have_one_type(values: list[Any], served: list[Any]) -> None:
    variants = tuple(Variant(f"v{number}", value) for number, value in enumerate(values))
    document = FlagDocument(ValueType.NUMBER, variants, "v0", "v0")
    found = [variant.value for variant in served_variants(document).values()]
    assert (found, list(map(type, found))) == (served, list(map(type, served)))


def test_bulk_evaluation__equals_single_evaluations() -> None:
    for stem, file in FILES.items():
        flags = COMPILED[stem]
        for case in file["cases"]:
            context = context_of(case, flags)
            memo: dict[str, Decision] = {}
            for flag in flags.values():
                assert decide(flag, context, memo) == evaluate(flag, context)


def test_cycle_of_prerequisites__serves_the_off_value() -> None:
    """Saving refuses cycles; evaluation still must not hang on a stored one."""
    flags: dict[str, CompiledFlag] = {}
    for key, other in (("a", "b"), ("b", "a")):
        document = decode_document(
            {
                **FILES["state"]["flags"]["everyone"]["document"],
                "prerequisites": [{"flag": other, "variants": ["enabled"]}],
            }
        )
        flags[key] = compile_flag(
            key=key,
            salt="salt",
            revision=1,
            document=document,
            archived=False,
            segments={},
            segment_rules={},
            others=flags,
        )
    context = EvaluationContext(
        "0", Subject({}, {}, datetime(2026, 1, 1, tzinfo=UTC)), {}, datetime.now(UTC)
    )
    decision = evaluate(flags["a"], context)
    assert (decision.variant.key, decision.reason) == ("disabled", Reason.PREREQUISITE_FAILED)
