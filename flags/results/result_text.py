"""Results as sentences for staff. Imports no Django."""

from math import ceil, isfinite

from flags.results.breach import percent_text
from flags.results.outcome import (
    PLANNED_EFFECT,
    Measure,
    MeasureOutcome,
    ResultVerdict,
    VariantOutcome,
)
from flags.results.statistics import ALPHA, MIN_PLAYERS, UNBOUNDED, Lift
from ilara_admin.web.chart_axes import ABSENT, PERCENT, value_text

TONES = {
    ResultVerdict.BETTER: "ok",
    ResultVerdict.WORSE: "warn",
    ResultVerdict.BREACHED: "danger",
    ResultVerdict.UNTRUSTED: "danger",
}
ROLE_NAMES = {"primary": "Primary metric", "guard": "Guard metric", "secondary": "Secondary metric"}
LEAST_P = 0.0001
WORTH_SAYING = 0.01  # by which values before the exposure narrow an interval
DIMENSIONS = {
    "stage": "Lifecycle stage",
    "payer": "Payer",
    "country": "Country",
    "platform": "Platform",
}
LEFT_OUT = {
    "overridden": "got the variant by an override",
    "two": "saw two variants",
    "population": "are not in the population",
}


def verdict_text(measure: Measure, found: VariantOutcome) -> str:
    """`Better by 2.1 % to 6.3 %`."""
    match found.verdict:
        case ResultVerdict.UNTRUSTED:
            return "Not to be trusted"
        case ResultVerdict.TOO_FEW:
            return f"Too few players: {MIN_PLAYERS} per variant are needed"
        case ResultVerdict.NOTHING_TO_COMPARE:
            return "Too little happened to compare"
    assert found.lift is not None
    tolerable = f"{percent_text(measure.tolerance or 0)} is tolerable"
    match found.verdict:
        case ResultVerdict.NO_DIFFERENCE:
            if measure.tolerance is None:
                return "No difference found yet"
            return f"No harm found yet; up to {tolerable}"
        case ResultVerdict.BREACHED:
            return f"Worse {_by(measure, found.lift)}; only {tolerable}"
        case ResultVerdict.WORSE if measure.tolerance is not None:
            return f"Worse {_by(measure, found.lift)}; up to {tolerable}"
    return f"{found.verdict.capitalize()} {_by(measure, found.lift)}"


def _by(measure: Measure, lift: Lift) -> str:
    """The limits of a change that is not 0, without its sign."""
    low, high = sorted((abs(lift.low), abs(lift.high)))
    if high >= UNBOUNDED:
        return f"by at least {percent_text(low)}"
    if lift.high < 0 and not measure.signed:
        high = min(high, 1.0)
    return f"by {percent_text(low)} to {percent_text(high)}"


def mean_text(measure: Measure, players: int, mean: float) -> str:
    """`12.3 %`, `0.42 EUR`, `3.1 matches`; a dash without players."""
    if not players:
        return ABSENT
    if measure.unit == PERCENT:
        return value_text(100 * mean, PERCENT)
    return f"{value_text(mean)} {measure.unit}".rstrip()


def p_text(lift: Lift | None) -> str:
    if lift is None:
        return ABSENT
    if lift.p < LEAST_P:
        return f"under {LEAST_P:.4f}"
    return f"{lift.p:.2g}" if lift.p < 0.1 else f"{lift.p:.2f}"


def level_text(outcome: MeasureOutcome) -> str:
    """Why the level of the intervals is not 95 %, "" if it is."""
    if outcome.alpha >= ALPHA:
        return ""
    return (
        f"{len(outcome.comparisons)} variants are compared with {outcome.control_variant}, so each "
        f"interval is one of {value_text(100 * outcome.level, PERCENT)} and p-values are adjusted "
        "(Bonferroni): of all experiments without a difference, at most 5 % ever call one by this "
        "metric."
    )


def adjusted_text(outcome: MeasureOutcome) -> str:
    """Whether values before the exposure narrow the intervals, "" if they do not."""
    parts = [
        each.lift.reduction for each in outcome.comparisons if each.lift and each.lift.adjusted
    ]
    if not parts or max(parts) < WORTH_SAYING:
        return ""
    return (
        f"Intervals are up to {percent_text(max(parts))} narrower, since the values in the 14 days "
        "before the exposure are taken into account (CUPED)."
    )


def power_text(outcome: MeasureOutcome) -> str:
    """`With the players so far a change of 7.5 % can be found. For 5 % it takes about 12,300 more
    players.`"""
    effect, missing = outcome.effect_found, outcome.players_missing()
    if missing is None:
        return ""
    if not isfinite(effect) or effect > 1:
        found = "With the players so far not even a change of 100 % can be found."
    else:
        found = f"With the players so far a change of {percent_text(effect)} can be found."
    planned = percent_text(PLANNED_EFFECT)
    if not missing:
        return found
    return f"{found} For {planned} it takes about {_round(missing):,} more players."


def _round(players: int) -> int:
    """To two digits: a plan is not more exact."""
    unit = int(10 ** max(len(str(players)) - 2, 0))
    return ceil(players / unit) * unit


def left_out_text(reason: str, count: int) -> str:
    """`3 players saw two variants`."""
    noun = "player" if count == 1 else "players"
    verb = LEFT_OUT.get(reason, reason)
    if count == 1:
        verb = verb.replace("are not", "is not", 1)
    return f"{count:,} {noun} {verb}"


def group_text(dimension: str, group: str) -> str:
    """A group of a breakdown: `Payers`, `DE`, `unknown`."""
    if dimension == "payer":
        return {"yes": "Payers", "no": "Not payers"}.get(group, group)
    return group or "unknown"
