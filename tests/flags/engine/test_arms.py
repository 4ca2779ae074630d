"""The arms of running experiments, and their phases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flags.engine.arms import (
    RunningExperiment,
    ServedArm,
    arm_of,
    arm_weights,
    measured_of,
    phase_is_over,
)
from flags.engine.bucketing import gate
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    Slice,
    ValueType,
    Variant,
)
from flags.engine.evaluation import CompiledFlag, EvaluationContext, compile_flag, evaluate
from flags.engine.schedule import rollout_at
from segments.language.compiler import Subject

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEVEL_5 = {
    "operator": "AND",
    "conditions": [{"field": "attributes.level", "operator": ">=", "value": 5}],
}
HALVES = (Slice("a", 0, 50_000), Slice("b", 50_000, EVERYBODY))
SPLIT = Rule(id="m", split=HALVES)
THIRD = Rule(id="m", variant="b", rollout=30_000)
STEPS = Rule(
    id="m",
    variant="b",
    rollout=10_000,
    steps=(ScheduleStep(DAY + HOUR, 30_000), ScheduleStep(DAY + 2 * HOUR, EVERYBODY)),
)
# 0 to 100 % in 100 hours, so a phase takes ten.
RAMP = Rule(id="m", variant="b", ramp=Ramp(from_=0, to=EVERYBODY, start=DAY, end=DAY + 100 * HOUR))


def make_flag(*rules: Rule, **fields: Any) -> CompiledFlag:
    document = FlagDocument(
        value_type=ValueType.STRING,
        variants=tuple(Variant(key=key, value=key) for key in "abc"),
        default="a",
        off="a",
        enabled=True,
        rules=rules,
    )
    changed = {name: fields.pop(name) for name in ("enabled", "prerequisites") if name in fields}
    options: dict[str, Any] = {"key": "f", "archived": False, "others": {}, **fields}
    return compile_flag(
        salt="s",
        revision=1,
        document=msgspec.structs.replace(document, **changed),
        segments={},
        segment_rules={},
        id=7,
        **options,
    )


def player_with(share: Callable[[int], bool]) -> str:
    """The id of a player whose gate bucket is so."""
    return next(str(UUID(int=n)) for n in range(100_000) if share(gate("s", str(UUID(int=n)))))


def at_bucket(low: int) -> str:
    """The id of a player whose gate bucket is `low` thousandths or up to 1 % more."""
    return player_with(lambda bucket: low <= bucket < low + 1_000)


def make_context(
    player_id: str = at_bucket(0), at: datetime = DAY, level: int = 5, **fields: Any
) -> EvaluationContext:
    subject = Subject({"level": level}, {}, at)
    return EvaluationContext(player_id, subject, fields.pop("overrides", {}), at, **fields)


def arm(
    flag: CompiledFlag, context: EvaluationContext, phase_at: datetime = DAY
) -> ServedArm | None:
    experiment = RunningExperiment(1, "e", "m", "a", 1, phase_at)
    [measured] = measured_of(flag, [experiment])
    return arm_of(flag, measured, evaluate(flag, context), context)


# --- Which decisions are measured -----------------------------------------------------------------


def test_split__gives_the_variant_served() -> None:
    flag = make_flag(SPLIT)
    contexts = [make_context(str(UUID(int=n))) for n in range(50)]
    arms = [arm(flag, context) for context in contexts]
    assert arms == [ServedArm(evaluate(flag, context).variant.key) for context in contexts]
    assert {each.variant for each in arms if each} == {"a", "b"}


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [(0, "b"), (29_000, "b"), (30_000, "a"), (99_000, "a")],
)
def test_percentage__compares_inside_with_outside(bucket: int, expected: str) -> None:
    assert arm(make_flag(THIRD), make_context(at_bucket(bucket))) == ServedArm(expected)


EARLIER = Rule(id="first", conditions=LEVEL_5, variant="c")
LATER = Rule(id="last", variant="c")
PART = Rule(id="p", conditions=LEVEL_5, variant="c", rollout=20_000)
MATCHING = Rule(id="m", conditions=LEVEL_5, variant="b", rollout=30_000)


@pytest.mark.parametrize(
    ("rules", "level", "bucket", "expected"),
    [
        ((EARLIER, THIRD), 5, 0, None),  # an earlier rule decides
        ((EARLIER, THIRD), 5, 50_000, None),
        ((EARLIER, THIRD), 1, 0, "b"),
        ((EARLIER, THIRD), 1, 50_000, "a"),
        ((EARLIER, SPLIT), 5, 0, None),
        ((PART, THIRD), 5, 25_000, None),  # an earlier rule has the lowest buckets of such players
        ((PART, THIRD), 5, 50_000, None),
        ((PART, THIRD), 1, 0, "b"),
        ((PART, THIRD), 1, 50_000, "a"),
        ((THIRD, LATER), 1, 50_000, "a"),  # outside, although a later rule decides
        ((THIRD, LATER), 1, 0, "b"),
        ((MATCHING,), 1, 0, None),  # does not match
        ((MATCHING,), 1, 50_000, None),
        ((MATCHING,), 5, 0, "b"),
        ((MATCHING,), 5, 50_000, "a"),
        ((MATCHING, LATER), 1, 50_000, None),
    ],
)
def test_rules_before_and_after__count(
    rules: tuple[Rule, ...], level: int, bucket: int, expected: str | None
) -> None:
    found = arm(make_flag(*rules), make_context(at_bucket(bucket), level=level))
    assert found == (expected and ServedArm(expected))


def test_split_with_a_percentage__measures_only_those_inside() -> None:
    flag = make_flag(Rule(id="m", split=HALVES, rollout=30_000))
    assert arm(flag, make_context(at_bucket(29_000)))
    assert arm(flag, make_context(at_bucket(30_000))) is None


@pytest.mark.parametrize(
    ("rule", "level", "expected"),
    [
        (THIRD, 1, ServedArm("c", overridden=True)),
        (SPLIT, 1, ServedArm("c", overridden=True)),
        (MATCHING, 5, ServedArm("c", overridden=True)),
        (MATCHING, 1, None),  # would be in no arm
    ],
)
def test_override__is_noted_for_players_in_an_arm(
    rule: Rule, level: int, expected: ServedArm | None
) -> None:
    assert arm(make_flag(rule), make_context(level=level, overrides={7: "c"})) == expected


def test_override_without_its_variant__is_ignored() -> None:
    assert arm(make_flag(THIRD), make_context(overrides={7: "gone"})) == ServedArm("b")
    assert arm(make_flag(THIRD), make_context(overrides={8: "c"})) == ServedArm("b")


def test_failed_prerequisite__is_not_measured() -> None:
    other = make_flag(THIRD, key="other")
    needs = (Prerequisite("other", ("b",)),)
    flag = make_flag(SPLIT, prerequisites=needs, others={"other": other})
    assert arm(flag, make_context(at_bucket(0)))
    assert arm(flag, make_context(at_bucket(50_000))) is None


def test_failed_prerequisite__is_not_outside_either() -> None:
    other = make_flag(THIRD, key="other")
    rule = Rule(id="m", variant="b", rollout=60_000)
    flag = make_flag(rule, prerequisites=(Prerequisite("other", ("b",)),), others={"other": other})
    assert arm(flag, make_context(at_bucket(70_000))) is None


def test_unregistered_player__is_not_measured() -> None:
    context = make_context()
    assert arm(make_flag(SPLIT), context)
    assert arm(make_flag(SPLIT), replace(context, is_registered=False)) is None


@pytest.mark.parametrize(
    "flag",
    [
        make_flag(SPLIT, enabled=False),
        make_flag(SPLIT, archived=True),
        make_flag(Rule(id="m", variant="b")),  # all players are inside
        make_flag(Rule(id="m", variant="b", rollout=0)),
        make_flag(LATER, SPLIT),  # no player reaches the rule
        make_flag(Rule(id="deleted", split=HALVES)),
    ],
)
def test_nothing_to_compare__is_not_measured(flag: CompiledFlag) -> None:
    assert measured_of(flag, [RunningExperiment(1, "e", "m", "a", 1, DAY)]) == ()


def test_two_experiments__are_measured_in_the_order_of_rules() -> None:
    flag = make_flag(THIRD, Rule(id="n", split=HALVES))
    running = [RunningExperiment(id, key, key, "a", 1, DAY) for id, key in ((2, "n"), (1, "m"))]
    found = measured_of(flag, running)
    assert [each.key for each in found] == ["m", "n"]
    context = make_context(at_bucket(50_000))
    decision = evaluate(flag, context)
    arms = [arm_of(flag, each, decision, context) for each in found]
    assert arms == [ServedArm("a"), ServedArm(decision.variant.key)]


# --- Schedules and phases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "phase_hours", "hours", "bucket", "expected"),
    [
        # 10 % inside; the job that begins the phase of the step to 30 % runs a moment later.
        (STEPS, 0, 0.5, 9_000, "b"),
        (STEPS, 0, 0.5, 10_000, "a"),
        (STEPS, 0, 1, 20_000, None),
        (STEPS, 0, 1, 30_000, "a"),
        (STEPS, 1, 1, 20_000, "b"),
        (STEPS, 1, 1, 30_000, "a"),
        # A phase from 20 to 30 %.
        (RAMP, 20, 20, 19_000, "b"),
        (RAMP, 20, 20, 20_000, None),  # would change from outside to inside
        (RAMP, 20, 25, 22_000, None),
        (RAMP, 20, 25, 27_000, None),
        (RAMP, 20, 25, 30_000, "a"),
        (RAMP, 20, 29, 30_000, "a"),
        (RAMP, 20, 33, 30_000, None),  # late
        # At 0 % there is no one to compare with.
        (RAMP, 0, 5, 1_000, None),
        (RAMP, 0, 5, 50_000, None),
        (RAMP, -5, -5, 50_000, None),
    ],
)
def test_arms_of_a_schedule__are_fixed_for_a_phase(
    rule: Rule, phase_hours: float, hours: float, bucket: int, expected: str | None
) -> None:
    at = DAY + hours * HOUR
    found = arm(make_flag(rule), make_context(at_bucket(bucket), at), DAY + phase_hours * HOUR)
    assert found == (expected and ServedArm(expected))


def test_rule_that_ended__measures_no_one() -> None:
    flag = make_flag(Rule(id="m", variant="b", rollout=30_000, end=DAY + HOUR))
    for bucket, expected in ((0, "b"), (50_000, "a")):
        assert arm(flag, make_context(at_bucket(bucket))) == ServedArm(expected)
        assert arm(flag, make_context(at_bucket(bucket), DAY + HOUR)) is None


FALLING = Rule(
    id="m", variant="b", ramp=Ramp(from_=60_000, to=10_000, start=DAY, end=DAY + 10 * HOUR)
)
LIMITED = Rule(
    id="m",
    variant="b",
    ramp=Ramp(from_=50_000, to=60_000, start=DAY, end=DAY + 10 * HOUR),
    start=DAY + HOUR,
    end=DAY + 2 * HOUR,
)


@pytest.mark.parametrize(
    ("rule", "phase_hours", "hours", "expected"),
    [
        (THIRD, 0, 1_000, False),
        (SPLIT, 0, 1_000, False),
        (STEPS, 0, 0.9, False),
        (STEPS, 0, 1, True),
        (STEPS, 1, 1.9, False),
        (STEPS, 1, 2, True),
        (STEPS, 2, 1_000, False),
        (RAMP, -1, 9.9, False),
        (RAMP, -1, 10, True),
        (RAMP, 10, 19.9, False),
        (RAMP, 10, 20, True),
        (RAMP, 95, 99.9, False),
        (RAMP, 95, 100, True),  # the rest of the way
        (RAMP, 100, 1_000, False),
        (FALLING, 0, 0.9, False),
        (FALLING, 0, 1, True),
        (LIMITED, 0, 0.9, False),
        (LIMITED, 0, 1, True),  # the rule starts
        (LIMITED, 1, 1.9, False),
        (LIMITED, 1.5, 2, True),  # and ends
        (LIMITED, 2, 1_000, False),
        (Rule(id="m", split=HALVES, rollout=0, steps=STEPS.steps), 0, 1_000, False),
    ],
)
def test_phase__ends_by_the_schedule(
    rule: Rule, phase_hours: float, hours: float, expected: bool
) -> None:
    phase_at, now = DAY + phase_hours * HOUR, DAY + hours * HOUR
    assert phase_is_over(rule, phase_at, now) is expected


@pytest.mark.parametrize(
    ("rule", "phase_hours", "expected"),
    [
        (SPLIT, 0, {"a": 50_000, "b": 50_000}),
        (THIRD, 0, {"b": 30_000, "a": 70_000}),
        (STEPS, 1, {"b": 30_000, "a": 70_000}),
        (RAMP, 20, {"b": 20_000, "a": 70_000}),
        (RAMP, 95, {}),
        (RAMP, 100, {}),
        (RAMP, 0, {}),
        (FALLING, 0, {"b": 55_000, "a": 40_000}),
    ],
)
def test_weights__are_those_of_the_phase(
    rule: Rule, phase_hours: float, expected: dict[str, int]
) -> None:
    assert arm_weights(rule, "a", DAY + phase_hours * HOUR) == expected


percentages = st.integers(0, EVERYBODY)
hours = st.floats(-2, 14).map(lambda distance: DAY + distance * HOUR)


@given(percentages, percentages, hours, hours)
def test_ramp__never_moves_a_player_to_the_other_arm_in_a_phase(
    from_: int, to: int, phase_at: datetime, now: datetime
) -> None:
    rule = Rule(id="m", variant="b", ramp=Ramp(from_, to, DAY, DAY + 10 * HOUR))
    assume(phase_at <= now and not phase_is_over(rule, phase_at, now))
    weights = arm_weights(rule, "a", phase_at)
    assume(weights)
    assert weights["b"] <= rollout_at(rule, now) <= EVERYBODY - weights["a"]
