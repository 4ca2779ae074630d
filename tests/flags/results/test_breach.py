"""When a guard is breached, what it does, and when phases begin and rollouts end. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from flags.engine.bucketing import gate
from flags.engine.document import FlagDocument, Ramp, Rule, ScheduleStep, boolean_document
from flags.engine.schedule import figure_at
from flags.results.breach import (
    MINUS,
    End,
    GuardReading,
    GuardVerdict,
    breaches_in,
    change_text,
    end_of,
    fixed,
    last_good,
    percent_text,
    read_guard,
)
from flags.results.statistics import Arm, compare

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def arm(players: int, events: int, per_player: int = 1) -> Arm:
    """An arm of which `events` players have `per_player` events, and the others none."""
    return Arm(players, events * per_player, events * per_player**2)


def reading(control: Arm, other: Arm, *, up: bool = False, least: int = 100) -> GuardReading:
    return read_guard(
        "errors", up=up, tolerance=0.05, variant="b", control=control, other=other,
        min_players=least,
    )  # fmt: skip


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("events", [200, 300, 400, 500, 600, 700, 800])
def test_breach__is_an_interval_beyond_the_tolerance_on_the_bad_side(
    events: int, tolerance: float, up: bool
) -> None:
    control, other = arm(1000, 500), arm(1000, events)
    found = read_guard(
        "m", up=up, tolerance=tolerance, variant="b", control=control, other=other, min_players=100
    )
    lift = compare(control, other)
    assert lift is not None
    assert found.lift == lift
    assert (found.verdict is GuardVerdict.BREACHED) == (
        lift.high < -tolerance if up else lift.low > tolerance
    )


@pytest.mark.parametrize(
    ("control", "other", "least"),
    [(99, 5000, 0), (5000, 99, 100), (399, 500, 400), (500, 399, 400), (0, 0, 0)],
)
def test_too_few_players_in_an_arm__have_no_verdict(control: int, other: int, least: int) -> None:
    found = reading(arm(control, control // 2), arm(other, other), least=least)
    assert (found.verdict, found.lift) == (GuardVerdict.EARLY, None)


@pytest.mark.parametrize(
    ("control", "other", "up", "verdict"),
    [
        # An error that does not occur outside, or hardly ever, or inside hits everyone.
        (arm(400, 0), arm(400, 100), False, GuardVerdict.BREACHED),
        (arm(400, 2), arm(400, 100), False, GuardVerdict.BREACHED),
        (arm(400, 0), arm(400, 400), False, GuardVerdict.BREACHED),
        (arm(400, 400), arm(400, 400, 2), False, GuardVerdict.BREACHED),
        (arm(400, 0), arm(400, 3), False, GuardVerdict.TOLERABLE),
        (arm(400, 3), arm(400, 6), False, GuardVerdict.TOLERABLE),
        # One player with many errors does not stop a rollout.
        (arm(400, 0), arm(400, 1, 50), False, GuardVerdict.TOLERABLE),
        (arm(400, 0), arm(400, 0), False, GuardVerdict.TOLERABLE),
        (arm(400, 400), arm(400, 400), False, GuardVerdict.TOLERABLE),
        # No player inside does any more what players outside do.
        (arm(400, 100), arm(400, 0), True, GuardVerdict.BREACHED),
        (arm(400, 400), arm(400, 0), True, GuardVerdict.BREACHED),
        (arm(400, 5), arm(400, 0), True, GuardVerdict.TOLERABLE),
        (arm(400, 0), arm(400, 100), True, GuardVerdict.TOLERABLE),
        (arm(400, 0), arm(400, 400), True, GuardVerdict.TOLERABLE),
    ],
)
def test_rare_and_uniform_values__have_a_verdict(
    control: Arm, other: Arm, up: bool, verdict: GuardVerdict
) -> None:
    assert reading(control, other, up=up).verdict is verdict


def test_breaches__are_those_of_all_guards() -> None:
    fine = reading(arm(1000, 500), arm(1000, 500))
    bad, worse = (reading(arm(1000, 500), arm(1000, events)) for events in (800, 900))
    assert breaches_in([fine]) == []
    assert breaches_in([fine, bad, worse]) == [bad, worse]


@pytest.mark.parametrize(
    ("control", "other", "up", "text"),
    [
        (arm(398, 120), arm(412, 240), False, "errors rose by 45 % to 170 % (tolerable: 5 %) "),
        (arm(398, 300), arm(412, 120), True, "errors fell by 50 % to 72 % (tolerable: 5 %) "),
        (
            arm(398, 120),
            arm(412, 124),
            False,
            f"errors changed by {MINUS}32 % to 47 % (tolerable: 5 %) ",
        ),
        (
            arm(398, 0),
            arm(412, 103),
            False,
            "errors rose by at least 215 % (tolerable: 5 %) ",
        ),
    ],
)
def test_evidence__reads_as_a_sentence(control: Arm, other: Arm, up: bool, text: str) -> None:
    found = change_text(reading(control, other, up=up))
    assert found.startswith(text), found
    assert found.endswith("among 412 and 398 players")


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "5 %"), (0.0025, "0.25 %"), (0.0125, "1.2 %"), (0.314, "31 %"), (12, "1,200 %"),
     (0, "0 %"), (-0.00001, "0 %"), (-0.31, f"{MINUS}31 %")],
)  # fmt: skip
def test_percent_text__is_short(share: float, text: str) -> None:
    assert percent_text(share) == text


# --- What happens ---------------------------------------------------------------------------------


def ramp(start: int, end: int, hours: int = 10) -> Ramp:
    return Ramp(start * 1000, end * 1000, NOW - HOUR, NOW + (hours - 1) * HOUR)


def steps(*percents: int) -> tuple[ScheduleStep, ...]:
    """The first an hour ago, then each hour."""
    return tuple(
        ScheduleStep(NOW + (index - 1) * HOUR, percent * 1000)
        for index, percent in enumerate(percents)
    )


def flag(**parts: object) -> FlagDocument:
    other = Rule("other", variant="disabled", ramp=ramp(0, 100))
    rule = msgspec.structs.replace(Rule("r", variant="enabled"), **parts)
    return boolean_document(enabled=True, rules=(other, rule))


SCHEDULES = [
    {"rollout": 25_000},
    {"ramp": ramp(0, 50)},
    {"ramp": ramp(50, 0)},
    {"rollout": 5_000, "steps": steps(10, 50)},
    {"rollout": 90_000, "steps": steps(20, 10)},
]


@pytest.mark.parametrize("at_most", [100_000, 8_000, 0])
@pytest.mark.parametrize("parts", SCHEDULES)
def test_fixed__never_raises_the_percentage_of_one_rule(
    parts: dict[str, object], at_most: int
) -> None:
    before = flag(**parts)
    share = figure_at(before.rules[1], NOW)
    after = fixed(before, "r", NOW, at_most=at_most)
    assert (after.rules[0], after.enabled) == (before.rules[0], True)
    for later in range(48):
        assert figure_at(after.rules[1], NOW + later * HOUR) == min(share, at_most)
    assert fixed(before, "gone", NOW, at_most=at_most) == before


def test_step_back__leaves_players_outside_where_they_are() -> None:
    before = flag(rollout=25_000)
    after = fixed(before, "r", NOW, at_most=10_000)
    inside = [
        {str(player) for player in range(2000) if gate("salt", str(player)) < rule.rollout}
        for rule in (before.rules[1], after.rules[1])
    ]
    assert inside[1] < inside[0]


OTHERS = [(60, 1), (10, 2), (5, 3)]  # percent, and how many hours before NOW it was replaced


@pytest.mark.parametrize(
    ("parts", "earlier", "hours", "percent"),
    [
        ({"rollout": 25_000}, OTHERS, 0, 10),
        ({"rollout": 25_000}, [(60, 1), (None, 2)], 0, 0),
        ({"rollout": 25_000}, [(60, 1)], 0, 0),
        ({"rollout": 25_000}, [], 0, 0),
        ({"rollout": 7_000}, OTHERS, 0, 5),
        ({"rollout": 0}, OTHERS, 0, 0),
        # The step before, and before the first one.
        ({"rollout": 20_000, "steps": steps(30, 40, 50)}, OTHERS, 1, 40),
        ({"rollout": 20_000, "steps": steps(30, 40, 50)}, OTHERS, 0, 30),
        ({"rollout": 20_000, "steps": steps(30, 40, 50)}, OTHERS, -1, 20),
        ({"rollout": 20_000, "steps": steps(30, 40, 50)}, OTHERS, -2, 10),
        # A tenth of the ramp before, and before it.
        ({"ramp": ramp(20, 70)}, OTHERS, 1, 25),
        ({"ramp": ramp(20, 70)}, OTHERS, -0.5, 20),
        ({"ramp": ramp(20, 70)}, OTHERS, -2, 10),
        ({"ramp": ramp(20, 70)}, OTHERS, 99, 65),
    ],
)
def test_last_good_percentage__is_the_one_before_the_phase(
    parts: dict[str, object], earlier: Sequence[tuple[int | None, int]], hours: float, percent: int
) -> None:
    former = [
        (None if share is None else Rule("r", rollout=share * 1000), NOW - ago * HOUR)
        for share, ago in earlier
    ]
    assert last_good(rule_of(**parts), NOW + hours * HOUR, former) == percent * 1000


# --- The end --------------------------------------------------------------------------------------


def rule_of(**parts: object) -> Rule:
    return flag(**parts).rules[1]


GOOD = reading(arm(1000, 500), arm(1000, 500))
YOUNG = reading(arm(50, 25), arm(50, 25))


@pytest.mark.parametrize(
    ("parts", "readings", "hours", "planned", "end"),
    [
        ({"rollout": 25_000}, [GOOD], 23, None, None),
        ({"rollout": 25_000}, [GOOD], 24, None, End.WATCHED),
        ({"rollout": 25_000}, [GOOD, YOUNG], 99, None, None),
        ({"rollout": 25_000}, [], 99, None, None),
        ({"rollout": 25_000}, [GOOD], 99, 100, None),
        ({"rollout": 25_000}, [GOOD], 2, 2, End.PLANNED),
        ({"rollout": 25_000}, [YOUNG], 2, 2, End.PLANNED),
        ({"ramp": ramp(0, 50, 99)}, [GOOD], 24, None, None),
        ({"ramp": ramp(0, 50)}, [GOOD], 24, None, End.WATCHED),
        ({"ramp": ramp(0, 100)}, [YOUNG], 10, None, End.SHIPPED),
        ({"ramp": ramp(0, 100)}, [], 8, None, None),
        ({"rollout": 0, "steps": steps(50, 100)}, [YOUNG], 0, None, End.SHIPPED),
        ({}, [YOUNG], 0, None, End.SHIPPED),
    ],
)
def test_rollout__ends_well(
    parts: dict[str, object], readings: Sequence[GuardReading], hours: int, planned: int | None,
    end: End | None,
) -> None:  # fmt: skip
    found = end_of(
        rule_of(**parts), readings, phase_at=NOW, now=NOW + hours * HOUR,
        planned_end=None if planned is None else NOW + planned * HOUR,
    )  # fmt: skip
    assert found is end
