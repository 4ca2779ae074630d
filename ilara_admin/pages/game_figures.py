"""Figures of the game: players, sessions, revenue and retention by UTC day, from the daily rollups.

Nothing here reads players or ledgers, so the cost of the page depends only on the number of days.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from textwrap import shorten
from typing import Any

from django import forms
from django.http import HttpResponse
from django.utils import timezone

from flags.models import FlagRevision
from ilara_admin.models import Environment, Role
from ilara_admin.pages.figure_sums import (
    CohortSums,
    Period,
    Sums,
    by_day,
    by_value,
    change,
    most_active,
    retention,
    sums_of,
    total,
)
from ilara_admin.templatetags.charts import Share
from ilara_admin.templatetags.ilara import money
from ilara_admin.web.access import environment_url, staff_view
from ilara_admin.web.chart_axes import label_axis, time_axis, value_text
from ilara_admin.web.charts import AnyChart, Chart, ChartSeries, Marker, bars, heat_map, lines
from ilara_admin.web.csv_download import csv_download
from ilara_admin.web.filters import FilterForm, render_list
from ilara_admin.web.htmx import HtmxHttpRequest
from players.days import HISTORY_DAYS
from players.labels import STAGES
from players.lifecycle import Stage
from players.models import Dimension, FiguresState, PlayerCohort, PlayerDay
from players.retention import AFTER

RANGES = {"7": "7 days", "": "28 days", "90": "90 days"}
DEFAULT_DAYS = 28
SHOWN_VALUES = 5  # of a breakdown, with a colour of their own
OTHER = "Other"
NOT_SET = "Not set"
DAILY_COHORTS = 31  # days; the cohorts of a longer period are those of seven days each
REVISIONS = 500  # marked at most, the newest ones
REASON = 80  # characters


class FiguresForm(FilterForm):
    """Two days are the period; else the range is, which ends yesterday."""

    range = forms.ChoiceField(
        label="Range", required=False, choices=[(str(key), text) for key, text in RANGES.items()]
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}))
    by = forms.ChoiceField(label="Broken down by", required=False, choices=Dimension.choices)

    def period(self, today: date) -> Period:
        """Days of the last HISTORY_DAYS, at least one. A missing start or end follows from the
        range."""
        yesterday = today - timedelta(days=1)
        days = int(self.value("range") or DEFAULT_DAYS)
        given: Mapping[str, Any] = self.cleaned_data
        since = given.get("since")
        end = min(given.get("until") or max(since or yesterday, yesterday), today)
        start = since or end - timedelta(days=days - 1)
        oldest = today - timedelta(days=HISTORY_DAYS)
        end = max(end, oldest)
        return Period(max(min(start, end), oldest), end)

    @property
    def dimension(self) -> Dimension:
        return Dimension(self.value("by"))


@dataclass(frozen=True, slots=True)
class GameFigure:
    """One figure of a period: its value, how it changed, and more about it."""

    label: str
    value: str
    change: str = ""
    before: str = ""
    title: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class GameFigures:
    """The rows of a period and of the one before, by value of the dimension."""

    period: Period
    dimension: Dimension
    totals: Sequence[PlayerDay]
    rows: Sequence[PlayerDay]
    cohorts: Sequence[PlayerCohort]

    @property
    def days(self) -> dict[date, Sums]:
        return by_day(self.totals, self.period)

    def row(self, day: date) -> PlayerDay | None:
        return next((each for each in self.totals if each.day == day), None)

    def kept(self, dimension: Dimension, period: Period) -> list[CohortSums]:
        return [
            CohortSums(each.day, each.value, each.players, kept_of(each))
            for each in self.cohorts
            if each.dimension == dimension and period.start <= each.day <= period.end
        ]


def kept_of(cohort: PlayerCohort) -> list[int | None]:
    return [getattr(cohort, f"day_{after}") for after in AFTER]


def figures_of(environment: Environment, period: Period, dimension: Dimension) -> GameFigures:
    """What is stored about a period and the one before."""
    wanted: dict[str, Any] = {
        "environment": environment,
        "day__gte": period.before.start,
        "day__lte": period.end,
        "dimension__in": {Dimension.TOTAL, dimension},
    }
    rows = list(PlayerDay.objects.filter(**wanted).order_by("day", "value"))
    return GameFigures(
        period,
        dimension,
        totals=[each for each in rows if each.dimension == Dimension.TOTAL],
        rows=[each for each in rows if each.dimension == dimension],
        cohorts=list(PlayerCohort.objects.filter(**wanted).order_by("day", "value")),
    )


@staff_view(Role.VIEWER)
def game_figures(request: HtmxHttpRequest) -> HttpResponse:
    now = timezone.now()
    form = FiguresForm(request)
    period = form.period(now.astimezone(UTC).date())
    found = figures_of(request.environment, period, form.dimension)
    context: dict[str, Any] = {
        "form": form,
        "period": period,
        "exists": bool(found.days),
        "missing": period.length - len(found.days),
        "figures": headline(found, request.environment.currency),
        "charts": list(charts_of(request, found)),
        "heat": retention_map(found),
        "by_version": form.dimension is Dimension.VERSION,
        "dimension": form.dimension.label if form.dimension else "",
        "values": value_rows(found, request.environment.currency),
        "mix": lifecycle_mix(request.environment),
        "query": request.GET.urlencode(),
    }
    return render_list(request, "ilara_admin/figures.html", context)


# --- Headline figures -----------------------------------------------------------------------------


def headline(found: GameFigures, currency: str) -> list[GameFigure]:
    """The figures of the period beside those of the period before."""
    period, before = found.period, found.period.before
    sums, past = total(found.days.values()), total(by_day(found.totals, before).values())
    days, past_days = len(found.days), len(by_day(found.totals, before))
    last, past_last = found.row(period.end), found.row(before.end)

    def figure(
        label: str, now: Any, then: Any, text: Callable[[Any], str], title: str = "", more: str = ""
    ) -> GameFigure:
        compared = change(now, then)
        return GameFigure(label, text(now), compared, text(then) if compared else "", title, more)

    def mean(part: int, count: int) -> float | None:
        return part / count if count else None

    def cash(amount: Decimal | None) -> str:
        return money(amount and round(amount, 2), currency)

    kept = retention(found.kept(Dimension.TOTAL, period)) or [None] * len(AFTER)
    kept_before = retention(found.kept(Dimension.TOTAL, before)) or [None] * len(AFTER)
    week, month = AFTER.index(7), AFTER.index(30)
    return [
        figure("Active players a day", mean(sums.active, days), mean(past.active, past_days),
               whole, "On average"),
        figure("Active in 7 days", last and last.weekly, past_last and past_last.weekly, whole,
               "Players seen at least once in the 7 days that end with the last day"),
        figure("Active in 30 days", last and last.monthly, past_last and past_last.monthly, whole,
               "Players seen at least once in the 30 days that end with the last day"),
        figure("New players", sums.new, past.new, whole),
        figure("Returning players a day", mean(sums.returning, days),
               mean(past.returning, past_days), whole, "Active and not new that day, on average"),
        figure("Sessions", sums.sessions, past.sessions, whole,
               more=f"{value_text(sums.sessions_each)} per active player and day"),
        figure("Revenue", sums.revenue, past.revenue, cash, "Without refunded purchases"),
        figure("ARPDAU", sums.arpdau, past.arpdau, cash, "Revenue per active player and day"),
        figure("Payers", sums.paying, past.paying, percents,
               "Of a day's active players, the share who bought something that day"),
        figure("Day 1 retention", kept[0], kept_before[0], percents,
               "Of the players first seen in the period, the share active a day later"),
        figure("Day 7 retention", kept[week], kept_before[week], percents,
               "Of the players first seen in the period, the share active seven days later"),
        figure("Day 30 retention", kept[month], kept_before[month], percents,
               "Of the players first seen in the period, the share active thirty days later"),
    ]  # fmt: skip


def whole(value: float | None) -> str:
    return value_text(None if value is None else round(value))


def percents(value: float | None) -> str:
    return value_text(None if value is None else round(value, 1), "%")


# --- Charts ---------------------------------------------------------------------------------------


def charts_of(request: HtmxHttpRequest, found: GameFigures) -> Iterator[AnyChart]:
    markers = list(markers_of(request, found.period))
    axis = time_axis([datetime.combine(day, time(), UTC) for day in found.period.days])
    currency = request.environment.currency
    if found.dimension == Dimension.TOTAL:
        yield reach_chart(found, markers)
        yield bars(
            axis,
            [
                _series("Returning", found.days, found.period, lambda each: each.returning),
                _series("New", found.days, found.period, lambda each: each.new),
            ],
            label="New and returning players",
            unit="player",
        )
        parts = {"": found.days}
    else:
        parts = _parts(found)
        for label, get, unit in (
            ("Active players", lambda each: each.active, "player"),
            ("New players", lambda each: each.new, "player"),
        ):
            series = [_series(name, days, found.period, get) for name, days in parts.items()]
            yield bars(axis, series, label=label, unit=unit, markers=markers)

    def drawn(
        draw: Callable[..., Chart],
        label: str,
        get: Callable[[Sums], Any],
        unit: str = "",
        pins: Sequence[Marker] = (),
    ) -> Chart:
        series = [_series(name, days, found.period, get) for name, days in parts.items()]
        return draw(axis, series, label=label, unit=unit, markers=pins)

    yield drawn(bars, "Sessions", lambda each: each.sessions, "session")
    yield drawn(bars, f"Revenue in {currency}", lambda each: float(each.revenue), pins=markers)
    yield drawn(lines, f"ARPDAU in {currency}", _arpdau)
    yield drawn(lines, "Payers among active players", lambda each: each.paying, "%")


def reach_chart(found: GameFigures, markers: Sequence[Marker]) -> Chart:
    """Players active on a day, and in the 7 and 30 days that end with it."""
    known = {each.day: each for each in found.totals}
    days = found.period.days
    series = [
        ChartSeries(name, [getattr(known[day], column) if day in known else None for day in days])
        for name, column in (("Day", "active"), ("7 days", "weekly"), ("30 days", "monthly"))
    ]
    axis = time_axis([datetime.combine(day, time(), UTC) for day in days])
    return lines(axis, series, label="Active players", unit="player", markers=markers)


def _series(
    name: str, days: Mapping[date, Sums], period: Period, get: Callable[[Sums], Any]
) -> ChartSeries:
    return ChartSeries(name, [get(days[day]) if day in days else None for day in period.days])


def _parts(found: GameFigures) -> dict[str, dict[date, Sums]]:
    """The values with the most active players, and the rest, by name."""
    values = by_value(found.rows, found.period)
    shown = most_active(values, SHOWN_VALUES)
    parts = {name_of(value): values[value] for value in shown}
    rest = {
        day: of_day.minus(total(values[value].get(day, Sums()) for value in shown))
        for day, of_day in found.days.items()
    }
    if any(each != Sums() for each in rest.values()):
        parts[OTHER if OTHER not in parts else f"{OTHER} values"] = rest
    return parts


def _arpdau(sums: Sums) -> float | None:
    return None if sums.arpdau is None else float(sums.arpdau)


def name_of(value: str) -> str:
    return value or NOT_SET


def markers_of(request: HtmxHttpRequest, period: Period) -> Iterator[Marker]:
    """When staff changed flags. Reads no documents, which may be large."""
    start = datetime.combine(period.start, time(), UTC)
    found = FlagRevision.objects.filter(
        flag__environment=request.environment,
        created_at__gte=start,
        created_at__lt=start + timedelta(days=period.length),
    ).order_by("-created_at")
    fields = ("flag__key", "number", "author_name", "reason", "created_at")
    for key, number, author, reason, created_at in found.values_list(*fields)[:REVISIONS]:
        label = f"{key}, revision {number} by {author}"
        if reason:
            label += f": {shorten(reason, REASON, placeholder='…')}"
        yield Marker(created_at, label, environment_url(request, "flag_revision", key, number))


# --- Retention, values, stages --------------------------------------------------------------------


def retention_map(found: GameFigures) -> AnyChart | None:
    """By cohort, or by value of the dimension; None without cohorts, and by version."""
    if found.dimension == Dimension.VERSION:
        return None
    cohorts = found.kept(found.dimension, found.period)
    groups: dict[str, list[CohortSums]] = {}
    if found.dimension == Dimension.TOTAL:
        daily = found.period.length <= DAILY_COHORTS
        for each in cohorts:
            number = (each.day - found.period.start).days
            first = each.day if daily else each.day - timedelta(days=number % 7)
            groups.setdefault(f"{first.day} {first:%b}", []).append(each)
        label = "Retention by first day" if daily else "Retention by first week"
    else:
        for each in cohorts:
            groups.setdefault(name_of(each.value), []).append(each)
        label = f"Retention by {found.dimension.label.lower()}"
    sized = {
        name: (sum(each.players for each in group), retention(group))
        for name, group in groups.items()
    }
    shown = {name: each for name, each in sized.items() if each[0]}
    if found.dimension != Dimension.TOTAL:
        largest = sorted(shown, key=lambda name: (-shown[name][0], name))
        shown = {name: shown[name] for name in largest}
    if not shown:
        return None
    return heat_map(
        [f"{name} ({players:,})" for name, (players, _) in shown.items()],
        label_axis([f"Day {after}" for after in AFTER]),
        [[None if each is None else round(each, 1) for each in row] for _, row in shown.values()],
        label=label,
        unit="%",
    )


def value_rows(found: GameFigures, currency: str) -> list[dict[str, Any]]:
    """The table of a breakdown: each value with its figures and how its active players changed."""
    if found.dimension == Dimension.TOTAL:
        return []
    values = by_value(found.rows, found.period)
    before = by_value(found.rows, found.period.before)
    shown = most_active(values, len(values))
    sums = {value: total(values[value].values()) for value in shown}
    rest = total(found.days.values()).minus(total(sums.values()))
    past = {value: total(days.values()) for value, days in before.items()}
    rows = [(name_of(value), sums[value], past.get(value)) for value in shown]
    if rest != Sums():
        rows.append((OTHER, rest, None))
    days = len(found.days) or 1
    return [
        {
            "name": name,
            "active": whole(each.active / days),
            "change": change(each.active, then.active) if then else "",
            "new": each.new,
            "sessions": each.sessions,
            "revenue": each.revenue,
            "arpdau": money(each.arpdau and round(each.arpdau, 2), currency),
            "paying": percents(each.paying),
        }
        for name, each, then in rows
    ]


def lifecycle_mix(environment: Environment) -> dict[str, Any] | None:
    """Shares of all players by stage, when they were counted and the number of players."""
    state = FiguresState.objects.filter(environment=environment).first()
    players = sum(state.stages.values()) if state else 0
    if state is None or not players:
        return None
    parts = [
        Share(f"{STAGES[Stage(stage)].label} {count:,}", round(100_000 * count / players))
        for stage, count in state.stages.items()
    ]
    return {"parts": parts, "players": players, "at": state.stages_at}


# --- CSV ------------------------------------------------------------------------------------------

CSV = (
    "utc_day", "dimension", "value", "active", "new", "returning", "sessions", "purchases",
    "payers", "revenue", "arpdau", "payers_percent", "active_7_days", "active_30_days",
    "cohort_players", *(f"cohort_day_{after}" for after in AFTER),
)  # fmt: skip


@staff_view(Role.VIEWER)
def overview_csv(request: HtmxHttpRequest) -> HttpResponse:
    """A line for each day and value, with the players first seen on the day and how many of them
    were active later."""
    form = FiguresForm(request)
    period = form.period(timezone.now().astimezone(UTC).date())
    found = figures_of(request.environment, period, form.dimension)
    cohorts = {(each.day, each.dimension, each.value): each for each in found.cohorts}
    rows = (
        _csv_row(row, cohorts.get((row.day, row.dimension, row.value)))
        for row in found.rows
        if row.day >= period.start
    )
    return csv_download(request, "figures", CSV, rows, str(period.start), str(period.end))


def _csv_row(row: PlayerDay, cohort: PlayerCohort | None) -> list[str]:
    sums = sums_of(row)
    kept = kept_of(cohort) if cohort else [None] * len(AFTER)
    given = [
        row.day, row.dimension, row.value, row.active, row.new, sums.returning, row.sessions,
        row.purchases, row.payers, row.revenue,
        None if sums.arpdau is None else round(sums.arpdau, 4),
        None if sums.paying is None else round(sums.paying, 2),
        row.weekly, row.monthly, cohort and cohort.players, *kept,
    ]  # fmt: skip
    return ["" if each is None else str(each) for each in given]
