"""What a metric was on the last days, per UTC day over the players who were active on it.

Its cost is bounded. In an environment with few players everything is counted. Else revenue, payers
and events without conditions come from daily and hourly counts, and all other metrics from a sample
of the active players, which is the same each time: player ids are uniformly distributed, so the
players that follow an id are a random sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import ceil
from typing import Any, Literal
from uuid import UUID

from django.db import connection

from events.models import EventHour
from flags.results.metric_definition import SHARES, Definition, unit_of
from ilara_admin.models import Environment
from ilara_admin.web.chart_axes import time_axis, value_text
from ilara_admin.web.charts import Chart, ChartSeries, bars, lines
from players.models import PlayerDay
from segments.language.parser import attribute_path, parse_where
from segments.language.sql import where_sql

DAYS = 14
SAMPLED_PLAYERS = 750  # who were active
LOOKED_PLAYERS = 7_500  # looked at, to find those

type Values = dict[date, dict[UUID, float]]


@dataclass(frozen=True, slots=True)
class DayFigure:
    """`players` count on the day; `total` is the sum of their values, after the cut."""

    day: date
    players: int
    total: float

    @property
    def mean(self) -> float | None:
        return self.total / self.players if self.players else None


@dataclass(frozen=True, slots=True)
class MetricPreview:
    """`source` says where the figures are from: all players, daily and hourly counts, or a sample.
    `players` are all, those of an average day, or those of the sample. `unit` is that of the
    values, "%" for a share."""

    definition: Definition
    unit: str
    source: Literal["all", "counts", "sample"]
    players: int
    days: Sequence[DayFigure]
    today: date

    @property
    def is_share(self) -> bool:
        return self.definition["kind"] in SHARES

    @property
    def mean_text(self) -> str:
        """Per player and day, with the unit; "" without players."""
        count = sum(each.players for each in self.days)
        if not count:
            return ""
        text = value_text(self._shown(sum(each.total for each in self.days) / count))
        return f"{text} {self.unit}".rstrip()

    @property
    def is_partial(self) -> bool:
        return self.days[-1].day == self.today

    @property
    def chart(self) -> Chart:
        starts = [datetime.combine(each.day, time(), UTC) for each in self.days]
        means = [None if each.mean is None else self._shown(each.mean) for each in self.days]
        if self.is_share:
            label = "Share of the active players, by UTC day"
            return lines(time_axis(starts), [ChartSeries("", means)], label=label, unit="%")
        unit = f" in {self.unit}" if self.unit else ""
        label = f"Mean per active player{unit}, by UTC day"
        return bars(time_axis(starts), [ChartSeries("", means)], label=label)

    def _shown(self, value: float) -> float:
        return round(100 * value, 4) if self.is_share else value


def metric_preview(
    environment: Environment, definition: Definition, unit: str, now: datetime
) -> MetricPreview:
    """The preview of a valid definition. `unit` is the typed one of the metric."""
    kind, today = definition["kind"], now.astimezone(UTC).date()
    last = today - timedelta(days=definition["window_days"] + 1) if kind == "retention" else today
    days = [last - timedelta(days=ago) for ago in reversed(range(DAYS))]
    unit = unit_of(kind, unit, environment.currency)
    sample = _sample(environment, days[0])
    if not sample.is_complete:
        counted = _counted(environment, definition, days)
        if counted:
            average = sum(each.players for each in counted) // len(counted)
            return MetricPreview(definition, unit, "counts", average, counted, today)
    values = _values(environment, definition, sample, days, now)
    active = {day: {pk for pk, bits in sample.players.items() if day in bits} for day in days}
    figures = day_figures(days, active, values, definition)
    source: Literal["all", "sample"] = "all" if sample.is_complete else "sample"
    seen = set[UUID]().union(*active.values(), *values.values())
    return MetricPreview(definition, unit, source, len(seen), figures, today)


def day_figures(
    days: Sequence[date],
    active: Mapping[date, set[UUID]],
    values: Mapping[date, Mapping[UUID, float]],
    definition: Definition,
) -> list[DayFigure]:
    """The figures of each day. `values` holds those of players that are not 0. Values above the
    percentile of all values, of all days, are set to it."""
    counted: list[list[float]] = []
    for day in days:
        found = values.get(day, {})
        # A player without a value has no mean; all other metrics are 0.
        idle = 0 if definition["kind"] == "mean" else len(active.get(day, set()) - found.keys())
        counted.append([*found.values(), *[0.0] * idle])
    most = float("inf")
    everything = sorted(value for each in counted for value in each)
    if definition["percentile"] is not None and everything:
        most = everything[max(ceil(definition["percentile"] / 100 * len(everything)), 1) - 1]
    return [
        DayFigure(day, len(each), sum(min(value, most) for value in each))
        for day, each in zip(days, counted, strict=True)
    ]


# --- A sample of players --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActiveDays:
    """The UTC days on which a player was active, as bits from the first one on."""

    first: date
    bits: str

    def __contains__(self, day: date) -> bool:
        place = (day - self.first).days
        return 0 <= place < len(self.bits) and self.bits[place] == "1"


@dataclass(frozen=True, slots=True)
class PlayerSample:
    """Players who were active since a day, all of them if `is_complete`."""

    players: Mapping[UUID, ActiveDays]
    is_complete: bool


# The id order wraps around, so a start near the end still fills the sample.
_PART = """SELECT id, first_seen_at, activity, last_active_on FROM player
    WHERE environment_id = %(environment)s AND id"""
SAMPLE_SQL = f"""
WITH looked AS MATERIALIZED (SELECT * FROM (
    (({_PART} >= %(start)s ORDER BY id LIMIT {LOOKED_PLAYERS})
    UNION ALL ({_PART} < %(start)s ORDER BY id LIMIT {LOOKED_PLAYERS}))) ring
    LIMIT {LOOKED_PLAYERS})
SELECT id, (first_seen_at AT TIME ZONE 'UTC')::date, activity::text,
    (SELECT count(*) FROM looked) < {LOOKED_PLAYERS}
FROM looked WHERE last_active_on >= %(since)s LIMIT {SAMPLED_PLAYERS}"""


def _sample(environment: Environment, since: date) -> PlayerSample:
    with connection.cursor() as cursor:
        cursor.execute(
            SAMPLE_SQL,
            {"environment": environment.pk, "start": environment.namespace, "since": since},
        )
        rows = cursor.fetchall()
    is_complete = len(rows) < SAMPLED_PLAYERS and all(row[3] for row in rows[:1])
    return PlayerSample({pk: ActiveDays(first, bits) for pk, first, bits, _ in rows}, is_complete)


EVENT_VALUES = {
    "count": "count(*)",
    "share": "1",
    "sum": "coalesce(sum({number}), 0)",
    "mean": "avg({number})",
}
EVENTS_SQL = """
SELECT e.player_id, (e.received_at AT TIME ZONE 'UTC')::date, {value} FROM event e
WHERE e.environment_id = %(environment)s AND e.player_id = ANY(%(players)s)
  AND e.received_at >= %(since)s AND e.received_at < %(until)s
  AND e.name = %(event)s AND {where}
GROUP BY 1, 2"""
PURCHASES_SQL = """
SELECT player_id, (received_at AT TIME ZONE 'UTC')::date, {value} FROM purchase
WHERE environment_id = %(environment)s AND player_id = ANY(%(players)s)
  AND received_at >= %(since)s AND received_at < %(until)s AND counted AND refunded_at IS NULL
GROUP BY 1, 2"""
# A session arrives after it started, which bounds what is read of the index.
SESSIONS_SQL = """
SELECT player_id, (started_at AT TIME ZONE 'UTC')::date, count(*) FROM player_session
WHERE player_id = ANY(%(players)s) AND received_at >= %(since)s - interval '1 day'
  AND started_at >= %(since)s AND started_at < %(until)s
GROUP BY 1, 2"""


def _values(
    environment: Environment,
    definition: Definition,
    sample: PlayerSample,
    days: Sequence[date],
    now: datetime,
) -> Values:
    """The values of the players by day, without those of players who have none."""
    found: Values = {}
    if definition["kind"] == "retention":
        later = timedelta(days=definition["window_days"])
        for day in days:
            found[day] = {
                pk: 1.0
                for pk, active in sample.players.items()
                if day in active and day + later in active
            }
        return found
    params: dict[str, Any] = {
        "environment": environment.pk,
        "players": list(sample.players),
        "since": datetime.combine(days[0], time(), UTC),
        "until": datetime.combine(days[-1] + timedelta(days=1), time(), UTC),
        "event": definition["event"],
        "now": now,
    }

    def bind(value: Any) -> str:
        name = f"p{len(params)}"
        params[name] = value
        return f"%({name})s"

    match definition["kind"]:
        case "sessions":
            sql = SESSIONS_SQL
        case "revenue":
            sql = PURCHASES_SQL.format(value="sum(amount)")
        case "payers":
            sql = PURCHASES_SQL.format(value="1")
        case kind:
            conditions = definition["conditions"]
            where = None if conditions is None else parse_where(conditions)
            filtered = where_sql(where, bind, "%(now)s::timestamptz")
            keys = map(bind, attribute_path(definition["property"]))
            found_at = f"(e.properties{''.join(f' -> {key}::text' for key in keys)})"
            number = f"CASE WHEN jsonb_typeof{found_at} = 'number' THEN {found_at}::numeric END"
            value = EVENT_VALUES[kind].format(number=number)
            sql = EVENTS_SQL.format(value=value, where=filtered)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        for player, day, value in cursor.fetchall():
            if value is not None:
                found.setdefault(day, {})[player] = float(value)
    return found


# --- Daily and hourly counts ----------------------------------------------------------------------


def _counted(
    environment: Environment, definition: Definition, days: Sequence[date]
) -> list[DayFigure]:
    """The figures from counts of all players; empty if these do not hold what is measured."""
    kind = definition["kind"]
    plain = definition["conditions"] is None and definition["percentile"] is None
    if kind not in ("count", "revenue", "payers") or not plain:
        return []
    rows = PlayerDay.objects.filter(environment=environment, day__range=(days[0], days[-1]))
    known = {row.day: row for row in rows}
    events = _events_by_day(environment, definition["event"], days) if kind == "count" else {}
    found = []
    for day in days:
        row = known.get(day)
        totals: dict[str, int | Decimal] = {"count": events.get(day, 0)}
        if row is not None:
            totals |= {"revenue": row.revenue, "payers": row.payers}
        active = row.active if row else 0
        found.append(DayFigure(day, active, float(totals[kind]) if active else 0.0))
    return found if known else []


def _events_by_day(environment: Environment, name: str, days: Sequence[date]) -> dict[date, int]:
    hours = EventHour.objects.filter(
        environment=environment,
        event_name__environment=environment,
        event_name__name=name,
        start__gte=datetime.combine(days[0], time(), UTC),
        start__lt=datetime.combine(days[-1] + timedelta(days=1), time(), UTC),
    )
    found: dict[date, int] = {}
    for start, count in hours.values_list("start", "count"):
        day = start.astimezone(UTC).date()
        found[day] = found.get(day, 0) + count
    return found
