"""The chart of a flag's evaluations by variant, with a marker at every revision."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from textwrap import shorten
from typing import Any

from django.db import connection
from django.utils import timezone

from flags.models import Flag
from flags.usage import KEPT_DAYS, by_variant
from ilara_admin.core.local_times import clock_text, day_starts
from ilara_admin.web.access import environment_url
from ilara_admin.web.chart_axes import time_axis
from ilara_admin.web.charts import COLOURS, Chart, ChartSeries, Marker, bars
from ilara_admin.web.htmx import HtmxHttpRequest

PARAMETER = "evaluations"
HOURS = 48
REVISIONS = 1_000  # marked at most, the newest ones
REASON = 100  # characters

# Read for each page of a flag: Django needs longer to write the statement than to run it.
CHANGES = """
SELECT number, author_name, reason, created_at FROM flag_revision
WHERE flag_id = %s AND created_at >= %s ORDER BY number DESC LIMIT %s"""


class EvaluationSpan(StrEnum):
    HOURS = "hour"
    DAYS = "day"


SPANS = {
    EvaluationSpan.HOURS: ("By hour", f"Evaluations per hour, last {HOURS} hours"),
    EvaluationSpan.DAYS: ("By day", f"Evaluations per day, last {KEPT_DAYS} days"),
}


def evaluations_of(request: HtmxHttpRequest, flag: Flag, now: datetime) -> dict[str, Any]:
    """The context of the panel: `chart` (None without evaluations), `title`, and `spans` to choose
    by `?evaluations=`, each with its value, label and whether it is shown."""
    chosen = request.GET.get(PARAMETER, "")
    span = EvaluationSpan(chosen) if chosen in set(EvaluationSpan) else EvaluationSpan.HOURS
    title = SPANS[span][1]
    starts = _starts(span, now)
    counts = by_variant(flag, starts)
    return {
        "chart": _chart(request, flag, starts, counts, title) if counts else None,
        "title": title,
        "spans": [(each, label, each is span) for each, (label, _) in SPANS.items()],
    }


def _starts(span: EvaluationSpan, now: datetime) -> list[datetime]:
    """When each column begins and the last one ends, in the user's zone."""
    zone = timezone.get_current_timezone()
    if span is EvaluationSpan.DAYS:
        starts = day_starts(timezone.localdate(now), KEPT_DAYS, zone)
    else:
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        starts = [hour - timedelta(hours=ago) for ago in range(HOURS - 1, -2, -1)]
    return [start.astimezone(zone) for start in starts]


def _chart(
    request: HtmxHttpRequest,
    flag: Flag,
    starts: Sequence[datetime],
    counts: dict[str, list[int]],
    title: str,
) -> Chart:
    return bars(
        time_axis(starts[:-1]),
        _series(flag, counts),
        label=title,
        unit="evaluation",
        markers=_markers(request, flag, starts[0]),
    )


def _series(flag: Flag, counts: dict[str, list[int]]) -> list[ChartSeries]:
    """In the order of the variants, so that each keeps its colour; then variants that are gone.
    If there are more than colours, the least frequent are one."""
    known = [] if flag.problem else [variant.key for variant in flag.spec.variants]
    keys = [*known, *sorted(counts.keys() - set(known))]
    often = sorted(keys, key=lambda key: -sum(counts.get(key, [])))
    shown = keys if len(keys) <= COLOURS else often[: COLOURS - 1]
    nothing = [0] * len(next(iter(counts.values())))
    series = [ChartSeries(key, counts.get(key, nothing)) for key in keys if key in shown]
    others = [counts[key] for key in keys if key not in shown and key in counts]
    if others:
        series.append(ChartSeries("others", [sum(each) for each in zip(*others, strict=True)]))
    return series


def _markers(request: HtmxHttpRequest, flag: Flag, since: datetime) -> Iterator[Marker]:
    """Reads no documents, which may be large."""
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, [flag.pk, since, REVISIONS])
        found = cursor.fetchall()
    for number, author, reason, created_at in found:
        local = timezone.localtime(created_at).replace(second=0, microsecond=0, tzinfo=None)
        label = f"Revision {number} by {author}, {clock_text(local)}"
        if reason:
            label += f": {shorten(reason, REASON, placeholder='…')}"
        yield Marker(created_at, label, environment_url(request, "flag_revision", flag.key, number))
