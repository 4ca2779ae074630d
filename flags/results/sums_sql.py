"""The SQL that adds up players' values by variant."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from flags.models import MetricKind
from flags.results.figures_sql import FigureMetric, MeasuredExperiment

DIMENSIONS = ("stage", "payer", "country", "platform")
# Texts that games choose: only the largest groups are kept.
OPEN_DIMENSIONS = ("country", "platform")
TOP_GROUPS = 10
# The columns of a metric: the number of players with a value, the mean of the values and the sum of
# their squared differences from it, the same of the values before, and the sum of the products of
# both differences. They ignore players without a value, and PostgreSQL computes the last five of
# them in one step.
SUMS = ("count", "avgy", "syy", "avgx", "sxx", "sxy")
PERCENT = 100


def ripe_before(metric: FigureMetric, now: datetime) -> datetime | None:
    """Players who were exposed before have had the metric's whole window; None without one."""
    if metric.window_days is None:
        return None
    if metric.kind == MetricKind.RETENTION:
        today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
        return today - timedelta(days=metric.window_days)
    # A window that ends now is over.
    return now - timedelta(days=metric.window_days) + timedelta(microseconds=1)


def exposed_sql(measured: MeasuredExperiment, population: str | None) -> str:
    """The exposures of the phase whose values are computed. `left_out` is why a player does not
    count, else NULL. `population` is SQL that selects the ids of the players who count."""
    outside, join = "", ""
    if population is not None:
        outside = "WHEN people.id IS NULL THEN 'population'"
        join = f"LEFT JOIN ({population}) people ON people.id = x.player_id"
    return f"""
    SELECT x.*, CASE WHEN x.overridden THEN 'overridden'
        WHEN x.second_variant IS NOT NULL THEN 'two' {outside} END AS left_out
    FROM exposure x {join}
    WHERE x.experiment_id = {measured.id:d} AND x.phase = {measured.phase:d}
      AND x.figures IS NOT NULL"""


def caps_sql(
    measured: MeasuredExperiment, population: str | None, now: datetime, bind: Callable[[Any], str]
) -> str:
    """One row, with two columns for each metric with a percentile: the highest value that counts,
    and the highest value before. The percentile is by nearest rank, of all variants together."""
    columns = []
    for metric in measured.metrics:
        if metric.percentile is not None:
            value, before = _values_sql(metric, now, bind)
            capped = f"percentile_disc({bind(metric.percentile / PERCENT)}) WITHIN GROUP"
            columns.append(f"{capped} (ORDER BY {value})")
            columns.append(f"{capped} (ORDER BY {before}) FILTER (WHERE {value} IS NOT NULL)")
    return f"""SELECT {", ".join(columns)} FROM ({exposed_sql(measured, population)}) x
        WHERE x.left_out IS NULL"""


def sums_sql(
    measured: MeasuredExperiment, population: str | None, now: datetime,
    top: Mapping[str, list[str]] | None, caps: Sequence[float | None], bind: Callable[[Any], str],
) -> str:  # fmt: skip
    """Rows of left_out, variant, the DIMENSIONS, players, and the SUMS of each metric. With `top`,
    the groups of OPEN_DIMENSIONS that are kept, there is a row for each combination of groups, else
    the dimensions are NULL; so are other groups. `caps` is the row of caps_sql."""
    # Grouping by NULLs would make PostgreSQL expect so many groups that it sorts all rows.
    groups, shown = dict[str, str](), ["NULL"] * len(DIMENSIONS)
    if top is not None:
        groups |= {"stage": "x.stage", "payer": "x.payer"}
        for name, texts in top.items():
            groups[name] = f"CASE WHEN x.{name} = ANY({bind(texts)}) THEN x.{name} END"
        shown = [*DIMENSIONS]
    limits = iter(caps)
    values, columns = [], []
    for metric in measured.metrics:
        value, before = _values_sql(metric, now, bind)
        if metric.percentile is not None:
            value, before = (_capped_sql(each, next(limits), bind) for each in (value, before))
        v, b = f"v{metric.position}", f"b{metric.position}"
        values += [f"{value} AS {v}", f"coalesce({before}, 0) AS {b}"]
        columns += [f"regr_{name}({v}, {b})" for name in SUMS]
    named = [f"{sql} AS {name}" for name, sql in groups.items()]
    # OFFSET 0: else each value would be written, and computed, once for each of its sums.
    return f"""
SELECT left_out, variant, {", ".join(shown)}, {", ".join(["count(*)", *columns])}
FROM (SELECT {", ".join(["x.left_out", "x.variant", *named, *values])}
      FROM ({exposed_sql(measured, population)}) x OFFSET 0) x
GROUP BY {", ".join(["left_out", "variant", *groups])}"""


def _values_sql(metric: FigureMetric, now: datetime, bind: Callable[[Any], str]) -> tuple[str, str]:
    """The value of a player, NULL if there is none yet, and the value before, which counts only if
    the player has a value."""
    place = metric.position + 1
    value, ripe = f"x.figures[{place}]", ripe_before(metric, now)
    if ripe is not None:
        value = f"CASE WHEN x.exposed_at < {bind(ripe)} THEN {value} END"
    return value, f"x.before[{place}]"


def _capped_sql(value: str, cap: float | None, bind: Callable[[Any], str]) -> str:
    """LEAST ignores NULL, which a value may be. Without a cap no player has a value."""
    if cap is None:
        return value
    limit = f"{bind(cap)}::float8"
    return f"CASE WHEN ({value}) > {limit} THEN {limit} ELSE {value} END"


def groups_sql(measured: MeasuredExperiment, population: str | None, dimension: str) -> str:
    """Rows of group, variant and number of players who count, of the groups %(groups)s."""
    return f"""SELECT x.{dimension}, x.variant, count(*)
        FROM ({exposed_sql(measured, population)}) x
        WHERE x.left_out IS NULL AND x.{dimension} = ANY(%(groups)s) GROUP BY 1, 2"""


def top_sql(measured: MeasuredExperiment, dimension: str) -> str:
    """The largest groups of a dimension."""
    return f"""SELECT {dimension} FROM exposure
        WHERE experiment_id = {measured.id:d} AND phase = {measured.phase:d}
        GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {TOP_GROUPS}"""
