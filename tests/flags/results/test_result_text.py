"""Verdicts, and the sentences of results."""

from dataclasses import replace

import pytest

from flags.models import Metric, MetricKind
from flags.results.breach import read_guard
from flags.results.outcome import Measure, MeasureOutcome, ResultVerdict, outcome_of
from flags.results.power import plan_of
from flags.results.result_text import (
    adjusted_text,
    group_text,
    left_out_text,
    level_text,
    mean_text,
    p_text,
    power_text,
    verdict_text,
)
from flags.results.statistics import Arm, compare, effect_visible, players_needed


def share(players: int, found: int) -> Arm:
    return Arm(players, found, found)


def measure(*, up: bool = True, tolerance: float | None = None, unit: str = "%") -> Measure:
    return Measure("buyers", "Buyers", "share", unit, "primary", up, tolerance)


def outcome(
    control: Arm, other: Arm, *, up: bool = True, tolerance: float | None = None,
    trusted: bool = True,
) -> MeasureOutcome:  # fmt: skip
    arms = {"a": control, "b": other}
    return outcome_of(measure(up=up, tolerance=tolerance), arms, "a", trusted=trusted)


MORE, LESS, SAME = share(20_000, 9_000), share(20_000, 7_000), share(20_000, 8_000)
VERDICTS = [
    (MORE, True, None, ResultVerdict.BETTER, "Better by 8.4 % to 17 %"),
    (MORE, False, None, ResultVerdict.WORSE, "Worse by 8.4 % to 17 %"),
    (LESS, True, None, ResultVerdict.WORSE, "Worse by 8.8 % to 16 %"),
    (LESS, False, None, ResultVerdict.BETTER, "Better by 8.8 % to 16 %"),
    (SAME, True, None, ResultVerdict.NO_DIFFERENCE, "No difference found yet"),
    (SAME, True, 0.05, ResultVerdict.NO_DIFFERENCE, "No harm found yet; up to 5 % is tolerable"),
    (MORE, False, 0.05, ResultVerdict.BREACHED, "Worse by 8.4 % to 17 %; only 5 % is tolerable"),
    (MORE, False, 0.1, ResultVerdict.WORSE, "Worse by 8.4 % to 17 %; up to 10 % is tolerable"),
    (MORE, True, 0.05, ResultVerdict.BETTER, "Better by 8.4 % to 17 %"),
    (
        share(99, 9), True, None, ResultVerdict.TOO_FEW,
        "Too few players: 100 per variant are needed",
    ),
    (
        share(20_000, 0), True, None, ResultVerdict.WORSE,
        "Worse by 97 % to 100 %",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("other", "up", "tolerance", "verdict", "text"), VERDICTS)
def test_verdict__is_in_the_direction_of_the_metric(
    other: Arm, up: bool, tolerance: float | None, verdict: ResultVerdict, text: str
) -> None:
    (found,) = outcome(SAME, other, up=up, tolerance=tolerance).comparisons
    assert found.verdict is verdict
    assert verdict_text(measure(up=up, tolerance=tolerance), found) == text


def test_verdict__without_an_upper_limit() -> None:
    (found,) = outcome(share(1000, 1), share(1000, 90), up=False, tolerance=0.05).comparisons
    assert found.verdict is ResultVerdict.BREACHED
    text = verdict_text(measure(up=False, tolerance=0.05), found)
    assert text == "Worse by at least 1,937 %; only 5 % is tolerable"


def test_verdict__without_anything_to_compare() -> None:
    (found,) = outcome(share(1000, 0), share(1000, 0)).comparisons
    assert found.verdict is ResultVerdict.NOTHING_TO_COMPARE
    assert verdict_text(measure(), found) == "Too little happened to compare"


@pytest.mark.parametrize("other", [MORE, share(99, 9)])
def test_verdict__is_none_if_the_players_are_out_of_proportion(other: Arm) -> None:
    (found,) = outcome(SAME, other, trusted=False).comparisons
    assert found.verdict is ResultVerdict.UNTRUSTED
    assert verdict_text(measure(), found) == "Not to be trusted"


def test_outcome__has_the_control_apart_and_the_others_by_key() -> None:
    arms = {"c": MORE, "control": SAME, "b": LESS}
    found = outcome_of(measure(), arms, "control", trusted=True)
    assert (found.control_variant, found.control) == ("control", SAME)
    assert [each.variant for each in found.comparisons] == ["b", "c"]
    assert outcome_of(measure(), {"b": LESS}, "control", trusted=True).control.players == 0


# --- Several variants -----------------------------------------------------------------------------

THREE = {"a": SAME, "b": LESS, "c": MORE}


def test_several_variants__share_the_errors_of_one() -> None:
    """The p-value is the one of which 0.05 is the limit."""
    found = outcome_of(measure(), THREE, "a", trusted=True)
    assert found.level == 0.975
    for each in found.comparisons:
        alone = compare(SAME, each.arm, 0.025)
        assert alone is not None
        assert each.lift == replace(alone, p=2 * alone.p)
    assert outcome(SAME, LESS).level == 0.95


def test_several_variants__count_without_players() -> None:
    """As in a group of players of a breakdown, in which not all variants were served."""
    few = outcome_of(measure(), {"a": SAME, "b": LESS}, "a", trusted=True, variants=THREE)
    assert few.level == 0.975
    assert [each.verdict for each in few.comparisons] == [
        ResultVerdict.WORSE, ResultVerdict.TOO_FEW,
    ]  # fmt: skip


def test_guard_with_several_variants__has_the_level_with_which_it_acts() -> None:
    guard = replace(measure(tolerance=0.05), role="guard")
    found = outcome_of(guard, THREE, "a", trusted=True)
    acts = read_guard(
        "m", up=True, tolerance=0.05, variant="b", control=SAME, other=LESS, min_players=100
    )
    assert found.comparisons[0].lift == acts.lift
    assert (found.level, level_text(found)) == (0.95, "")


def test_level__is_explained_if_it_is_not_95_percent() -> None:
    four = {**THREE, "d": SAME}
    assert level_text(outcome(SAME, MORE)) == ""
    assert level_text(outcome_of(measure(), four, "a", trusted=True)).startswith(
        "3 variants are compared with a, so each interval is one of 98.33 % and p-values are "
        "adjusted (Bonferroni): "
    )


def test_power__is_that_of_the_intervals_of_several_variants() -> None:
    found = outcome_of(measure(), THREE, "a", trusted=True)
    assert found.effect_found == effect_visible(0.4, SAME.variance, 20_000, 0.025)
    needed = players_needed(0.4, SAME.variance, 0.02, 3, 0.025)
    assert found.players_missing(0.02) == needed - 60_000
    payers = Metric(key="payers", kind=MetricKind.PAYERS)
    assert plan_of(payers, 0.02, 0.4, 3).players == players_needed(0.4, 0.24, 0.02, 3, 0.025)


# --- Power ----------------------------------------------------------------------------------------


def test_power__says_what_can_be_found_and_how_many_more_players_it_takes() -> None:
    found = outcome(share(5000, 2000), share(4900, 2000))
    assert power_text(found) == (
        "With the players so far a change of 10 % can be found. "
        "For 5 % it takes about 32,000 more players."
    )
    assert found.players_missing(0.2) == 0


def test_power__of_the_control_alone_is_known_too() -> None:
    alone = outcome_of(measure(), {"control": share(5000, 2000)}, "control", trusted=True)
    assert alone.players_missing() is not None


@pytest.mark.parametrize(
    ("control", "other", "text"),
    [
        (share(200_000, 80_000), share(200_000, 80_000), "a change of 1.7 % can be found."),
        (share(150, 1), share(150, 1), "not even a change of 100 % can be found. For 5 % it takes"),
    ],
)
def test_power__of_many_and_of_few(control: Arm, other: Arm, text: str) -> None:
    assert text in power_text(outcome(control, other))


@pytest.mark.parametrize("control", [share(99, 9), share(1000, 0)])
def test_power__is_not_known_yet(control: Arm) -> None:
    assert power_text(outcome(control, SAME)) == ""


def test_power__counts_what_cuped_explains() -> None:
    """Values that were twice the values before, but for a quarter of their variance."""
    plain = Arm(10_000, 50_000, 290_000)
    explained = Arm(10_000, 50_000, 290_000, 25_000, 72_500, 140_000)
    found = outcome(explained, explained)
    assert adjusted_text(outcome(plain, plain)) == ""
    assert adjusted_text(found).startswith("Intervals are up to ")
    assert found.effect_found < 0.7 * outcome(plain, plain).effect_found


# --- Texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "players", "mean", "text"),
    [("%", 5, 0.1234, "12.34 %"), ("USD", 5, 0.4234, "0.42 USD"), ("", 5, 3.14159, "3.14"),
     ("%", 0, 0, "\N{EN DASH}")],
)  # fmt: skip
def test_mean__has_the_unit_of_the_metric(unit: str, players: int, mean: float, text: str) -> None:
    assert mean_text(measure(unit=unit), players, mean) == text


def test_p_value__is_not_more_exact_than_it_is() -> None:
    (far,) = outcome(SAME, MORE).comparisons
    (near,) = outcome(SAME, SAME).comparisons
    assert p_text(far.lift) == "under 0.0001"
    assert p_text(near.lift) == "1.00"
    assert p_text(None) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("reason", "count", "text"),
    [
        ("two", 1200, "1,200 players saw two variants"),
        ("population", 1, "1 player is not in the population"),
        ("overridden", 1, "1 player got the variant by an override"),
    ],
)
def test_players_left_out__are_counted_by_reason(reason: str, count: int, text: str) -> None:
    assert left_out_text(reason, count) == text


def test_groups__have_names() -> None:
    assert group_text("payer", "yes") == "Payers"
    assert group_text("country", "") == "unknown"
    assert group_text("platform", "ios") == "ios"
