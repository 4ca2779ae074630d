"""How many events arrived: the figures and the chart of the overview."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.db.models.functions import TruncHour
from django.utils import timezone

from events.models import Event
from ilara_admin.models import Environment

HOURS = 24


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`hours` are clock hours, the last of them still under way."""

    last_minute: int
    last_day: int
    hours: list[tuple[datetime, int]]


def arrivals(environment: Environment, now: datetime) -> Arrivals:
    """What arrived in the last 24 hours. The bound on the time of arrival limits the read to the
    partitions of two days."""
    this_hour = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    start, day_ago = this_hour - timedelta(hours=HOURS), now - timedelta(days=1)
    rows = (
        Event.objects.of(environment)
        .filter(received_at__gte=start, received_at__lte=now)
        .annotate(hour=TruncHour("received_at"))
        .values("hour")
        .annotate(
            number=Count("event_id"),
            in_day=Count("event_id", filter=Q(received_at__gt=day_ago)),
            in_minute=Count("event_id", filter=Q(received_at__gt=now - timedelta(minutes=1))),
        )
        .order_by()
    )
    counted = list(rows)
    by_hour = {row["hour"]: row["number"] for row in counted}
    hours = [this_hour - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
    return Arrivals(
        last_minute=sum(row["in_minute"] for row in counted),
        last_day=sum(row["in_day"] for row in counted),
        hours=[(hour, by_hour.get(hour, 0)) for hour in hours],
    )
