"""Notifications about events of live: rejected ones that rise, and names that stopped."""

from collections import defaultdict
from datetime import UTC, datetime

from django.db import connection

from events import rising
from events.models import EventName
from events.stats import freshness, unusual_names
from events.unusual import State, words
from ilara_admin.core.notifications import LIVE, notify, register_kind
from ilara_admin.models import Environment

REJECTED, STOPPED = "events_rejected", "event_stopped"
OTHER_NAMES = "unknown names"


def register() -> None:
    register_kind(
        REJECTED,
        "Rejected events rising",
        f"The API rejected at least {rising.FEWEST} events of a name in live within an hour, and "
        f"{rising.FACTOR} times as many as at this time on the days before. At most once a day.",
    )
    register_kind(
        STOPPED,
        "An event stopped",
        "An event that usually arrives in live at this time does not.",
    )


# By a name of the catalogue, or NULL: other names are what anyone sent.
COUNTS_SQL = """
SELECT known.id, known.name, place, count(*)
FROM unnest(%(hours)s::timestamptz[]) WITH ORDINALITY hours (start, place)
JOIN event_rejected rejected ON received_at >= start AND received_at < start + interval '1 hour'
LEFT JOIN event_name known
    ON known.environment_id = rejected.environment_id AND known.name = rejected.event_name
WHERE rejected.environment_id = %(environment)s
GROUP BY 1, 2, 3"""


def events_watch(now: datetime) -> None:
    """Notify of events in live that are rejected more than before, and of those that stopped."""
    for environment in Environment.objects.filter(slug=LIVE).select_related("project"):
        _watch_rejected(environment, now)
        _watch_stopped(environment, now)


def _watch_rejected(environment: Environment, now: datetime) -> None:
    hours = rising.hours(now)
    counts: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0] * len(hours))
    with connection.cursor() as cursor:
        cursor.execute(COUNTS_SQL, {"environment": environment.pk, "hours": hours})
        for pk, name, place, count in cursor.fetchall():
            counts[pk, name or OTHER_NAMES][place - 1] = count
    for (pk, name), (count, *before) in counts.items():
        if rising.is_rising(count, before):
            notify(
                REJECTED,
                environment,
                f"Rejected events of {name} are rising",
                [rising.words(count, before)],
                page="event_rejected",
                dedupe_key=f"{REJECTED}:{environment.pk}:{pk or 0}:{now.astimezone(UTC):%Y-%m-%d}",
            )


def _watch_stopped(environment: Environment, now: datetime) -> None:
    found = unusual_names(environment, freshness(environment, now), now)
    stopped = {pk: each for pk, each in found.items() if each.state is State.STOPPED}
    for name in EventName.objects.filter(pk__in=stopped).order_by("name"):
        since = stopped[name.pk].since.astimezone(UTC)
        notify(
            STOPPED,
            environment,
            f"The event {name.name} stopped",
            [f"{words(stopped[name.pk], now.astimezone(UTC))} Times are in UTC."],
            page="event_name",
            args=[name.pk],
            dedupe_key=f"{STOPPED}:{name.pk}:{since:%Y-%m-%dT%H:%M:%S}",
        )
