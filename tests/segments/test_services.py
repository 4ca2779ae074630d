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


def trace(environment: Environment) -> tuple[int, int]:
    version = Environment.objects.get(pk=environment.pk).config_version
    return version, AuditEntry.objects.count()


def last_entry() -> AuditEntry:
    return AuditEntry.objects.order_by("-id")[0]


def test_new_segment__is_audited(segment: Segment) -> None:
    entry = last_entry()
    assert (entry.action, entry.reason, entry.object_id) == ("segment.created", "new", "whales")
    assert entry.after == {"key": "whales", "name": "Whales", "description": "", "rule": RULE}


def test_name__is_the_key_unless_given(environment: Environment) -> None:
    made = segment_create(environment=environment, key="w", name="", rule=RULE, actor=ACTOR)
    assert made.name == "w"


@pytest.mark.parametrize("key", ["", "-a", "a b", "a/b", "x" * 129, "a\n"])
def test_key_of_another_form__is_refused(key: str, environment: Environment) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        segment_create(environment=environment, key=key, name="", rule=RULE, actor=ACTOR)


def test_key_that_is_taken__is_refused_in_its_environment_only(segment: Segment) -> None:
    with pytest.raises(ValidationError, match="already a segment"):
        segment_create(
            environment=segment.environment, key="whales", name="", rule=RULE, actor=ACTOR
        )
    segment_create(environment=make_environment(), key="whales", name="", rule=RULE, actor=ACTOR)


@pytest.mark.parametrize("rule", [None, [], {}, {"operator": "AND", "conditions": []}])
def test_faulty_rule__is_refused_and_leaves_no_trace(rule: Any, segment: Segment) -> None:
    before = trace(segment.environment)
    with pytest.raises(ValidationError):
        segment_update(segment, name="x", rule=rule, description="", actor=ACTOR)
    with pytest.raises(ValidationError):
        segment_create(environment=segment.environment, key="y", name="", rule=rule, actor=ACTOR)
    assert trace(segment.environment) == before


def test_changed_segment__is_audited_by_what_differs(segment: Segment) -> None:
    version, entries = trace(segment.environment)
    rule = {**RULE, "operator": "NOT"}
    segment_update(segment, name="Whales", rule=rule, description="", actor=ACTOR, reason="why")
    assert trace(segment.environment) == (version + 1, entries + 1)
    entry = last_entry()
    assert (entry.action, entry.reason) == ("segment.updated", "why")
    assert (entry.before, entry.after) == ({"rule": RULE}, {"rule": rule})
    assert Segment.objects.get(pk=segment.pk).rule == rule


def test_save_without_a_change__leaves_no_trace(segment: Segment) -> None:
    before = trace(segment.environment)
    segment_update(segment, name="Whales", rule=RULE, description="", actor=ACTOR)
    assert trace(segment.environment) == before


def test_segment_that_a_flag_names__cannot_be_deleted(environment: Environment) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    before = trace(environment)
    with pytest.raises(ValidationError, match=r"is used by .*new_tutorial"):
        segment_delete(segment, actor=ACTOR)
    assert trace(environment) == before


def test_deleted_segment__is_told_in_full(segment: Segment) -> None:
    environment = segment.environment
    version, entries = trace(environment)
    segment_delete(segment, actor=ACTOR, reason="unused")
    assert trace(environment) == (version + 1, entries + 1)
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


def test_rule_that_names_a_missing_segment__is_refused_with_the_place(segment: Segment) -> None:
    rule = {"operator": "OR", "conditions": [RULE, among("nobody", operator="not_in")]}
    with pytest.raises(ValidationError) as raised:
        save(segment, rule)
    assert raised.value.messages == [
        "conditions[1].conditions[0].value: There is no segment “nobody” in this environment."
    ]


def test_rules_that_lead_back__are_refused_with_the_way(environment: Environment) -> None:
    def make(key: str, rule: Any) -> Segment:
        return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)

    first = make("a", RULE)
    make("b", among("a"))
    make("c", among("beta-testers", "b"))
    told = "conditions[0].value: A segment must not lead back to itself: "
    for rule, way in ((among("c"), "a → c → b → a."), (among("a"), "a → a.")):
        with pytest.raises(ValidationError) as raised:
            save(first, rule)
        assert raised.value.messages == [told + way]


def test_chain_of_segments__has_a_length_at_both_ends(environment: Environment) -> None:
    """It must not grow at its start, at its end, or by being joined to another."""
    made = [
        segment_create(
            environment=environment, key=f"s{number}", name="", actor=ACTOR,
            rule=among(f"s{number - 1}") if number % 5 else RULE,
        )
        for number in range(MAX_CHAIN)
    ]  # fmt: skip
    save(made[5], among("s4"))  # two chains of five
    long = "At most 10 segments may lean on each other"
    with pytest.raises(ValidationError, match=long):
        segment_create(environment=environment, key="s", name="", rule=among("s9"), actor=ACTOR)
    with pytest.raises(ValidationError, match=long):
        save(made[0], among("beta-testers"))


def test_segment_that_another_names__cannot_be_deleted(segment: Segment) -> None:
    segment_create(
        environment=segment.environment, key="a", name="", rule=among("whales"), actor=ACTOR
    )
    with pytest.raises(ValidationError, match="is used by the segment a"):
        segment_delete(segment, actor=ACTOR)


def test_true_instead_of_one__is_a_change(segment: Segment) -> None:
    def rule(value: object) -> dict[str, Any]:
        condition = {"field": "level", "operator": "==", "value": value}
        return {"operator": "AND", "conditions": [condition]}

    save(segment, rule(1))
    save(segment, rule(True))
    stored = Segment.objects.get(pk=segment.pk).rule
    assert stored["conditions"][0]["value"] is True


def test_segment_that_is_gone__is_told(segment: Segment) -> None:
    Segment.objects.filter(pk=segment.pk).delete()
    for act in (lambda: save(segment, RULE), lambda: segment_delete(segment, actor=ACTOR)):
        with pytest.raises(ValidationError, match="“whales” is no longer there"):
            act()
