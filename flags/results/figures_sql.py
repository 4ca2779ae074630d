"""The SQL that computes each exposed player's values of metrics, `figures`, and the same values in
the time before the exposure, `before`, from events, ledgers and activity bits.

One statement computes them for some players and several experiments, so that each player's events
are read once. Values are a function of the rows alone: what arrives late, is refunded or erased
changes them when they are computed again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flags.models import MetricKind
from players.event_log import PURCHASE_EVENT, REFUND_EVENT, REVERSAL_EVENT, SESSION_EVENT
from segments.language.parser import Group, attribute_path
from segments.language.sql import where_sql

BEFORE_DAYS = 14
# An event happened at most a day after it was received, by a clock that is ahead; see
# events/ingest.py.
AHEAD = timedelta(days=2)
# Numbers beyond are no numbers of a game, and their squares are beyond float8.
HIGHEST, LOWEST = "1e100", "1e-100"

EVENT_KINDS = (MetricKind.COUNT, MetricKind.SHARE, MetricKind.SUM, MetricKind.MEAN)
PURCHASE_KINDS = (MetricKind.REVENUE, MetricKind.PAYERS)
LEDGER_EVENTS = {PURCHASE_EVENT, REFUND_EVENT, REVERSAL_EVENT}


@dataclass(frozen=True, slots=True)
class FigureMetric:
    """What determines the values of a metric; the fields are those of flags.models.Metric, with
    `where` for its parsed conditions. `position` is that in the experiment."""

    id: int
    position: int
    kind: str
    event: str
    property: str
    where: Group | None
    window_days: int | None
    percentile: float | None


@dataclass(frozen=True, slots=True)
class MeasuredExperiment:
    """A phase of an experiment with its metrics. What happens from `until` on, the end
    of the experiment, counts only for metrics with a window."""

    id: int
    phase: int
    until: datetime | None
    metrics: tuple[FigureMetric, ...]

    @property
    def width(self) -> int:
        """The length of the arrays of values."""
        return max((metric.position for metric in self.metrics), default=-1) + 1


def events_needed(measured: Iterable[MeasuredExperiment]) -> set[str]:
    """The names of the events after which a player's values may differ."""
    found: set[str] = set()
    for metric in _metrics(measured):
        if metric.kind in EVENT_KINDS:
            found.add(metric.event)
        elif metric.kind in PURCHASE_KINDS:
            found |= LEDGER_EVENTS
        elif metric.kind == MetricKind.SESSIONS:
            found.add(SESSION_EVENT)
    return found


def _metrics(measured: Iterable[MeasuredExperiment]) -> Iterator[FigureMetric]:
    for each in measured:
        yield from each.metrics


# In the statement: %(players)s, %(environment)s, %(since)s and those that `bind` adds. The values
# are computed before the first row is written: an update has a transaction id from its first row
# on, and readers of the event log wait for transactions with one.
def write_sql(
    measured: list[MeasuredExperiment], bind: Callable[[Any], str], *, whole: bool
) -> str:
    """Computes and stores the values of the players `players` in the experiments. `since` is a time
    before all rows that count. A row that was exposed at another time meanwhile is left out.

    Unless `whole`, exposures without values are left out, and what only an event of the ledger or
    one before the exposure can change is kept: the values before, and those of purchases.
    """
    kinds = {metric.kind for metric in _metrics(measured)}
    sources = [
        sql
        for sql, used in (
            (_events_sql(measured, bind), EVENT_KINDS),
            (PURCHASES, PURCHASE_KINDS if whole else ()),
            (SESSIONS, (MetricKind.SESSIONS,)),
            (PEOPLE, (MetricKind.RETENTION,)),
        )
        if kinds.intersection(used)
    ]
    phases = ", ".join(f"({each.id:d}, {each.phase:d})" for each in measured)
    rows = "\nUNION ALL".join(_rows_sql(each, bind, whole=whole) for each in measured)
    return f"""
WITH chosen AS MATERIALIZED (SELECT unnest(%(players)s::uuid[]) AS player_id)
, exposed AS MATERIALIZED (
    SELECT found.* FROM chosen CROSS JOIN LATERAL (
        SELECT player_id, experiment_id, phase, exposed_at {"" if whole else ", figures, before"}
        FROM exposure
        WHERE player_id = chosen.player_id AND (experiment_id, phase) IN ({phases})
          {"" if whole else "AND NOT is_new"}
        OFFSET 0) found)
{"".join(sources)}
, computed AS MATERIALIZED ({rows})
UPDATE exposure x SET figures = c.figures, before = c.before, is_new = false FROM computed c
WHERE x.player_id = c.player_id AND x.experiment_id = c.experiment_id AND x.phase = c.phase
  AND x.exposed_at = c.exposed_at AND (SELECT count(*) FROM computed) > 0
  AND (x.is_new OR x.figures IS DISTINCT FROM c.figures OR x.before IS DISTINCT FROM c.before)"""


# --- Sources --------------------------------------------------------------------------------------
# Each is a scan of an index for all chosen players at once: what it costs depends on them, not on
# the size of the table, and players whose ids are near each other share its pages.

CHOSEN = "ANY(ARRAY(SELECT player_id FROM chosen))"


def _events_sql(measured: list[MeasuredExperiment], bind: Callable[[Any], str]) -> str:
    metrics = [metric for metric in _metrics(measured) if metric.kind in EVENT_KINDS]
    needs_properties = any(metric.property or metric.where for metric in metrics)
    names = sorted({metric.event for metric in metrics})
    return f"""
, happened AS MATERIALIZED (
    SELECT player_id, name, occurred_at AS at {", properties" if needs_properties else ""}
    FROM event
    WHERE player_id = {CHOSEN} AND environment_id = %(environment)s
      AND received_at > %(since)s - interval '{AHEAD.days * 24} hours'
      AND name = ANY({bind(names)}))"""


PURCHASES = f"""
, bought AS MATERIALIZED (
    SELECT player_id, received_at AS at, amount FROM purchase
    WHERE player_id = {CHOSEN} AND received_at >= %(since)s AND counted AND refunded_at IS NULL)"""
SESSIONS = f"""
, played AS MATERIALIZED (
    SELECT player_id, started_at AS at FROM player_session
    WHERE player_id = {CHOSEN} AND started_at >= %(since)s)"""
PEOPLE = f"""
, people AS MATERIALIZED (
    SELECT id, first_seen_at, activity FROM player WHERE id = {CHOSEN})"""


# --- Values ---------------------------------------------------------------------------------------


def _rows_sql(measured: MeasuredExperiment, bind: Callable[[Any], str], *, whole: bool) -> str:
    """The keys and values of an experiment's exposures. A player has one in a phase."""
    sums: dict[str, list[str]] = {}  # by source, the sums of a player
    figures, before = (["NULL"] * measured.width for _ in range(2))
    counted = "e.at >= x.exposed_at"
    if whole:
        counted += f" - interval '{BEFORE_DAYS * 24} hours'"
    for metric in measured.metrics:
        if metric.kind == MetricKind.RETENTION:
            figures[metric.position] = _retention_sql(metric.window_days or 0)
            continue
        if metric.kind in PURCHASE_KINDS and not whole:
            figures[metric.position] = f"x.figures[{metric.position + 1}]"
            continue
        source = _source(metric)
        after = ["e.at >= x.exposed_at"]
        if metric.window_days is not None:
            after.append(f"e.at < x.exposed_at + interval '{metric.window_days * 24} hours'")
        elif measured.until is not None:
            after.append(f"e.at < {bind(measured.until)}")
        counts = _counts_sql(metric, bind)
        parts = [(f"after_{metric.position}", after, figures)]
        if whole:
            parts.append((f"before_{metric.position}", ["e.at < x.exposed_at"], before))
        for name, times, values in parts:
            total = _sum_sql(metric, " AND ".join([*counts, *times]), bind)
            sums.setdefault(source, []).append(f"{total} AS {name}")
            empty = "{}" if metric.kind == MetricKind.MEAN else "coalesce({}, 0)"
            values[metric.position] = empty.format(f"{source}.{name}")
    joins = [
        f"""LEFT JOIN (
            SELECT x.player_id, {", ".join(columns)}
            FROM exposed x JOIN {source} e ON e.player_id = x.player_id AND {counted}
            WHERE x.experiment_id = {measured.id:d} GROUP BY x.player_id
        ) {source} ON {source}.player_id = x.player_id"""
        for source, columns in sums.items()
    ]
    if any(metric.kind == MetricKind.RETENTION for metric in measured.metrics):
        joins.append("LEFT JOIN people p ON p.id = x.player_id")
    return f"""
    SELECT x.player_id, x.experiment_id, x.phase, x.exposed_at,
        ARRAY[{", ".join(figures)}]::float8[] AS figures,
        {f"ARRAY[{', '.join(before)}]::float8[]" if whole else "x.before"} AS before
    FROM exposed x {" ".join(joins)} WHERE x.experiment_id = {measured.id:d}"""


def _source(metric: FigureMetric) -> str:
    if metric.kind in EVENT_KINDS:
        return "happened"
    return "bought" if metric.kind in PURCHASE_KINDS else "played"


def _counts_sql(metric: FigureMetric, bind: Callable[[Any], str]) -> list[str]:
    """Which rows `e` of the metric's source count, besides their time. Conditions relative to "now"
    mean the time of the event."""
    if metric.kind not in EVENT_KINDS:
        return []
    found = [f"e.name = {bind(metric.event)}"]
    return found if metric.where is None else [*found, where_sql(metric.where, bind, "e.at")]


def _sum_sql(metric: FigureMetric, condition: str, bind: Callable[[Any], str]) -> str:
    match metric.kind:
        case MetricKind.SHARE | MetricKind.PAYERS:
            return f"(count(*) FILTER (WHERE {condition}) > 0)::int"
        case MetricKind.SUM:
            return f"sum({_number_sql(metric, bind)}) FILTER (WHERE {condition})"
        case MetricKind.MEAN:
            return f"avg({_number_sql(metric, bind)}) FILTER (WHERE {condition})"
        case MetricKind.REVENUE:
            return f"sum(e.amount) FILTER (WHERE {condition})"
    return f"count(*) FILTER (WHERE {condition})"


def _number_sql(metric: FigureMetric, bind: Callable[[Any], str]) -> str:
    """The property of the event `e`; NULL unless it is a number. As numeric: sums of float8 depend
    on the order of the rows in their last digit, and each refresh would change some."""
    path = "".join(f" -> {bind(part)}::text" for part in attribute_path(metric.property))
    value = f"(e.properties{path})"
    number = f"({value})::numeric"
    return f"""CASE WHEN jsonb_typeof({value}) = 'number' THEN
        CASE WHEN abs({number}) > {HIGHEST} THEN NULL WHEN abs({number}) < {LOWEST} THEN 0
        ELSE {number} END END"""


def _retention_sql(days: int) -> str:
    """1 if the player was active on the UTC day `days` after that of the exposure."""
    first, exposed = (
        f"({at} AT TIME ZONE 'UTC')::date" for at in ("p.first_seen_at", "x.exposed_at")
    )
    place = f"{exposed} - {first} + {days + 1:d}"
    # The bit at a place that is not there is empty, also that before the first.
    return f"coalesce((substring(p.activity FROM {place} FOR 1) = B'1')::int, 0)"
