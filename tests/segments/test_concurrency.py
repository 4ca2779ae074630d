"""Concurrent changes of the segments of one environment."""

import random
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from flags.engine.document import Rule, boolean_document
from flags.models import Flag
from flags.services import flag_create
from ilara_admin.core.changes import Conflict
from ilara_admin.core.changes import undo as undo_entry
from ilara_admin.models import Environment
from segments.language.parser import segments_named
from segments.language.references import circle_in
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update
from tests.factories import ACTOR
from tests.threads import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 5}]}


def among(*keys: str) -> dict[str, Any]:
    return {
        "operator": "OR",
        "conditions": [RULE, {"field": "segment", "operator": "in", "value": list(keys)}],
    }


def make(environment: Environment, key: str, rule: Any = RULE) -> Segment:
    return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)


def refusal(act: Any, *args: Any, **named: Any) -> str:
    """The service's error messages, or "" if it succeeded."""
    try:
        act(*args, **named, actor=ACTOR)
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


def save(segment: Segment, rule: Any) -> str:
    return refusal(segment_update, segment, name="", rule=rule, description="")


def is_sound(environment: Environment) -> bool:
    """Every reference has a target, and existing is no cycle."""
    rows = Segment.objects.filter(environment=environment).values_list("key", "rule")
    references = {key: segments_named(rule) for key, rule in rows}
    existing = set(references)
    flags = [rule.segment for flag in Flag.objects.of(environment) for rule in flag.spec.rules]
    named = set().union(*references.values(), (key for key in flags if key))
    return named <= existing and circle_in(references) is None


def test_two_rules_saved_concurrently__close_no_cycle(environment: Environment) -> None:
    segments = [make(environment, key) for key in "ab"]

    def refer_to_the_other(number: int) -> str:
        return save(segments[number], among("ab"[1 - number]))

    for _ in range(5):
        for segment in segments:
            save(segment, RULE)
        first, second = sorted(at_once(refer_to_the_other, range(2)), key=len)
        assert (first, "refer to itself" in second) == ("", True)


def test_segment_deleted_while_a_rule_refers_to_it__leaves_no_dangling_reference(
    environment: Environment,
) -> None:
    user = make(environment, "user")

    def act(deletes: bool) -> str:
        if deletes:
            return refusal(segment_delete, named)
        return save(user, among("named"))

    for _ in range(5):
        save(user, RULE)
        named = Segment.objects.filter(environment=environment, key="named").first() or make(
            environment, "named"
        )
        problems = at_once(act, [True, False])
        assert sorted(map(bool, problems)) == [False, True], problems
        assert is_sound(environment)


def test_key_created_20_times_concurrently__is_created_once(environment: Environment) -> None:
    def create(_: int) -> str:
        return refusal(segment_create, environment=environment, key="new", name="", rule=RULE)

    messages = at_once(create, range(20))
    assert sorted(messages) == [""] + ["A segment “new” already exists in this environment."] * 19


def test_20_threads_changing_segments_and_flags__never_deadlock(
    environment: Environment,
) -> None:
    keys = [f"s{number}" for number in range(6)]
    for key in keys:
        make(environment, key)

    flags: list[str] = []  # why each was refused, "" if it was not

    def act(number: int) -> None:
        chosen = random.Random(number)
        for turn in range(4):
            some = chosen.sample(keys, 3)
            found = Segment.objects.select_related("environment").filter(
                environment=environment, key=some[0]
            )
            segment = found.first()
            match chosen.randrange(5):
                case 0 | 1 if segment:
                    save(segment, among(*some[1:]))
                case 2 if segment:
                    save(segment, RULE)
                case 3 if segment:
                    refusal(segment_delete, segment)
                case 4 if segment:
                    rules = tuple(
                        Rule(id=key, segment=key, variant="enabled") for key in reversed(some)
                    )
                    key = f"f{number}-{turn}"
                    document = boolean_document(rules=rules)
                    flags.append(
                        refusal(flag_create, environment=environment, key=key, document=document)
                    )
                case _:
                    refusal(
                        segment_create, environment=environment, key=some[0], name="",
                        rule=among(*some[1:]),
                    )  # fmt: skip

    at_once(act, range(20))
    assert is_sound(environment)
    assert len(flags) > 2
    assert Flag.objects.of(environment).count() == 2 + flags.count("")


def test_undo_concurrent_with_an_edit__is_complete_or_refused(environment: Environment) -> None:
    segment = make(environment, "a")
    for turn in range(5):
        entry = segment_update(segment, name=f"new {turn}", rule=RULE, description="", actor=ACTOR)
        assert entry

        def act(undoes: bool, entry: Any = entry, turn: int = turn) -> str:
            if undoes:
                try:
                    return refusal(undo_entry, entry)
                except Conflict:
                    return "conflict"
            return refusal(segment_update, segment, name=f"other {turn}", rule=RULE, description="")

        undone, changed = at_once(act, [True, False])
        assert changed == ""
        assert undone in ("", "conflict")
        assert Segment.objects.get(pk=segment.pk).name == f"other {turn}"
