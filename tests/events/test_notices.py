"""Notifications about rejected events that rise and events that stopped."""

from datetime import UTC, datetime, timedelta

import pytest

from events.models import EventFold, EventHour, EventName, RejectedEvent
from events.notices import REJECTED, STOPPED, events_watch
from events.rising import FEWEST
from ilara_admin.models import Environment, Notification
from tests.factories import make_environment

NOW = datetime(2026, 11, 26, 16, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def name_of(environment: Environment, name: str, last_seen_at: datetime = NOW) -> EventName:
    return EventName.objects.create(
        environment=environment, name=name, first_seen_at=NOW - 60 * DAY,
        last_seen_at=last_seen_at, count=10_000,
    )  # fmt: skip


def reject(environment: Environment, name: str | None, count: int, at: datetime) -> None:
    RejectedEvent.objects.bulk_create(
        RejectedEvent(
            environment=environment, received_at=at, event_name=name, code="VALIDATION_ERROR",
            message="", payload="",
        )
        for _ in range(count)
    )  # fmt: skip


@pytest.fixture
def live(environment: Environment) -> Environment:
    name_of(environment, "start")
    name_of(environment, "usual")
    return environment


def test_rising_rejections__are_told_once_a_day_by_known_names(live: Environment) -> None:
    within = NOW - timedelta(minutes=30)
    reject(live, "start", FEWEST, within)
    reject(live, "usual", FEWEST, within)
    reject(live, "usual", FEWEST, within - 2 * DAY)
    reject(live, "Ana, call 555-0100", FEWEST, within)
    reject(make_environment(slug="test"), "start", FEWEST, within)
    for minutes in (0, 5):
        events_watch(NOW + timedelta(minutes=minutes))
    found = Notification.objects.filter(kind=REJECTED).order_by("title")
    assert [each.title for each in found] == [
        "Rejected events of start are rising",
        "Rejected events of unknown names are rising",
    ]
    assert found[0].lines == [f"{FEWEST} in the last hour; none at this time on the 6 days before."]
    assert found[0].path == "events/rejected/"
    events_watch(NOW + DAY)  # the hour of yesterday is as high
    reject(live, "start", 3 * FEWEST, within + DAY)
    events_watch(NOW + DAY)
    assert Notification.objects.filter(kind=REJECTED).count() == 3


def test_event_that_stopped__is_told_once(live: Environment) -> None:
    last = NOW.replace(minute=0) - HOUR
    seen = last - 2 * HOUR + timedelta(minutes=7)
    name = name_of(live, "match_found", seen)
    EventHour.objects.bulk_create(
        EventHour(environment=live, event_name=name, start=hour, count=1_200)
        for hour in (last - 2 * HOUR - HOUR * number for number in range(10 * 24))
    )
    EventFold.objects.create(environment=live, folded_id=1, counted_until=NOW)
    for _ in range(2):
        events_watch(NOW)
    (found,) = Notification.objects.filter(kind=STOPPED)
    assert found.title == "The event match_found stopped"
    assert found.lines == [
        "None since 13:07; usually about 1,200 an hour at this time. Times are in UTC."
    ]
    assert found.path == f"events/names/{name.pk}/"


def test_while_counting_is_behind__no_event_has_stopped(live: Environment) -> None:
    EventFold.objects.create(environment=live, folded_id=1, counted_until=NOW - HOUR)
    events_watch(NOW)
    assert not Notification.objects.filter(kind=STOPPED).exists()
