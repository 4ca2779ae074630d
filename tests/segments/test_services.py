"""Writes to segments."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from ilara_admin.models import AuditEntry, Environment
from segments.language.references import MAX_CHAIN
from segments.models import Segment
from segments.services import segment_create, segment_delete, segment_update
from tests.factories import ACTOR, make_environment

RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 5}]}


@pytest.fixture
def segment(environment: Environment) -> Segment:
    return segment_create(
        environment=environment, key="whales", name="Whales", rule=RULE, actor=ACTOR, reason="new"
    )


def state_of(environment: Environment) -> tuple[int, int]:
    version = Environment.objects.get(pk=environment.pk).config_version
    return version, AuditEntry.objects.count()


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


def test_new_segment__is_audited(segment: Segment) -> None:
    entry = last_entry()
    assert (entry.action, entry.reason, entry.object_id) == ("segment.created", "new", "whales")
    assert entry.after == {"key": "whales", "name": "Whales", "description": "", "rule": RULE}


def test_empty_name__defaults_to_the_key(environment: Environment) -> None:
    made = segment_create(environment=environment, key="w", name="", rule=RULE, actor=ACTOR)
    assert made.name == "w"


@pytest.mark.parametrize("key", ["", "-a", "a b", "a/b", "x" * 129, "a\n"])
def test_invalid_key__is_refused(key: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        segment_create(environment=environment, key=key, name="", rule=RULE, actor=ACTOR)


def test_existing_key__is_refused_in_its_environment_only(segment: Segment) -> None:
    with pytest.raises(ValidationError, match="already exists"):
        segment_create(
            environment=segment.environment, key="whales", name="", rule=RULE, actor=ACTOR
        )
    segment_create(environment=make_environment(), key="whales", name="", rule=RULE, actor=ACTOR)


@pytest.mark.parametrize("rule", [None, [], {}, {"operator": "AND", "conditions": []}])
def test_invalid_rule__is_refused_and_changes_nothing(rule: Any, segment: Segment) -> None:
    before = state_of(segment.environment)
    with pytest.raises(ValidationError):
        segment_update(segment, name="x", rule=rule, description="", actor=ACTOR)
    with pytest.raises(ValidationError):
        segment_create(environment=segment.environment, key="y", name="", rule=rule, actor=ACTOR)
    assert state_of(segment.environment) == before


def test_changed_segment__is_audited_by_what_differs(segment: Segment) -> None:
    version, entries = state_of(segment.environment)
    rule = {**RULE, "operator": "NOT"}
    segment_update(segment, name="Whales", rule=rule, description="", actor=ACTOR, reason="why")
    assert state_of(segment.environment) == (version + 1, entries + 1)
    entry = last_entry()
    assert (entry.action, entry.reason) == ("segment.updated", "why")
    assert (entry.before, entry.after) == ({"rule": RULE}, {"rule": rule})
    assert Segment.objects.get(pk=segment.pk).rule == rule


def test_save_without_changes__writes_nothing(segment: Segment) -> None:
    before = state_of(segment.environment)
    segment_update(segment, name="Whales", rule=RULE, description="", actor=ACTOR)
    assert state_of(segment.environment) == before


def test_segment_used_by_a_flag__cannot_be_deleted(environment: Environment) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    before = state_of(environment)
    with pytest.raises(ValidationError, match=r"is used by .*new_tutorial"):
        segment_delete(segment, actor=ACTOR)
    assert state_of(environment) == before


def test_deletion__audits_the_whole_segment(segment: Segment) -> None:
    environment = segment.environment
    version, entries = state_of(environment)
    segment_delete(segment, actor=ACTOR, reason="unused")
    assert state_of(environment) == (version + 1, entries + 1)
    entry = last_entry()
    assert (entry.action, entry.reason, entry.after) == ("segment.deleted", "unused", None)
    assert entry.before is not None
    assert entry.before["rule"] == RULE
    assert not Segment.objects.filter(environment=environment, key="whales").exists()


def among(*keys: str, operator: str = "in") -> dict[str, Any]:
    condition = {"field": "segment", "operator": operator, "value": list(keys)}
    return {"operator": "AND", "conditions": [condition]}


def save(segment: Segment, rule: Any) -> None:
    segment_update(segment, name="", rule=rule, description="", actor=ACTOR)


def test_reference_to_a_missing_segment__is_refused_with_its_path(segment: Segment) -> None:
    rule = {"operator": "OR", "conditions": [RULE, among("missing", operator="not_in")]}
    with pytest.raises(ValidationError) as raised:
        save(segment, rule)
    assert raised.value.messages == [
        "conditions[1].conditions[0].value: There is no segment “missing” in this environment."
    ]


def test_cycle__is_refused_with_its_path(environment: Environment) -> None:
    def make(key: str, rule: Any) -> Segment:
        return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)

    first = make("a", RULE)
    make("b", among("a"))
    make("c", among("beta-testers", "b"))
    message = "conditions[0].value: A segment must not refer to itself: "
    for rule, path in ((among("c"), "a → c → b → a."), (among("a"), "a → a.")):
        with pytest.raises(ValidationError) as raised:
            save(first, rule)
        assert raised.value.messages == [message + path]


def test_chain_of_segments__has_a_maximum_length(environment: Environment) -> None:
    """It cannot grow beyond it at its start, at its end, or by joining another chain."""
    made = [
        segment_create(
            environment=environment, key=f"s{number}", name="", actor=ACTOR,
            rule=among(f"s{number - 1}") if number % 5 else RULE,
        )
        for number in range(MAX_CHAIN)
    ]  # fmt: skip
    save(made[5], among("s4"))  # two chains of five
    long = "At most 10 segments may form a chain"
    with pytest.raises(ValidationError, match=long):
        segment_create(environment=environment, key="s", name="", rule=among("s9"), actor=ACTOR)
    with pytest.raises(ValidationError, match=long):
        save(made[0], among("beta-testers"))


def test_segment_used_by_another__cannot_be_deleted(segment: Segment) -> None:
    segment_create(
        environment=segment.environment, key="a", name="", rule=among("whales"), actor=ACTOR
    )
    with pytest.raises(ValidationError, match="is used by the segment a"):
        segment_delete(segment, actor=ACTOR)


def test_true_instead_of_1__is_a_change(segment: Segment) -> None:
    def rule(value: object) -> dict[str, Any]:
        condition = {"field": "level", "operator": "==", "value": value}
        return {"operator": "AND", "conditions": [condition]}

    save(segment, rule(1))
    save(segment, rule(True))
    stored = Segment.objects.get(pk=segment.pk).rule
    assert stored["conditions"][0]["value"] is True


def test_change_of_a_deleted_segment__is_refused(segment: Segment) -> None:
    Segment.objects.filter(pk=segment.pk).delete()
    for act in (lambda: save(segment, RULE), lambda: segment_delete(segment, actor=ACTOR)):
        with pytest.raises(ValidationError, match="“whales” was deleted"):
            act()
