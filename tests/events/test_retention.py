"""Events are deleted when their environment's retention period ends, not before."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection

from events import partitions, tasks
from events.models import Event, EventHour, EventMinute, EventName
from ilara_admin.models import Environment
from tests.factories import make_environment, make_player

pytestmark = pytest.mark.django_db


def today() -> date:
    return datetime.now(UTC).date()


def insert(environment: Environment, days_ago: int) -> None:
    player = make_player(environment, f"{environment.pk}-{days_ago}")
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               VALUES (%s, now() - make_interval(days => %s), %s, 'e', 'x', '{}', now())""",
            [player.pk, days_ago, environment.pk],
        )


def days_stored(environment: Environment) -> list[int]:
    found = Event.objects.of(environment).values_list("received_at", flat=True)
    return sorted((today() - moment.astimezone(UTC).date()).days for moment in found)


def test_each_environment__has_its_retention_period() -> None:
    short, long = make_environment(), make_environment()
    Environment.objects.update(retention_days=20)
    Environment.objects.filter(pk=short.pk).update(retention_days=5)
    partitions.ensure(today() - timedelta(days=30), 30)
    for environment in (short, long):
        for days in (0, 4, 6, 19, 22):
            insert(environment, days)
    tasks.delete_expired(today())
    assert days_stored(short) == [0, 4]
    assert days_stored(long) == [0, 4, 6, 19]
    names = [partition.name for partition in partitions.describe()]
    assert partitions.name_of(today() - timedelta(days=20)) in names
    assert partitions.name_of(today() - timedelta(days=21)) not in names
    assert "event_default" in names


def test_counts__are_deleted_with_their_events_and_minutes_sooner(environment: Environment) -> None:
    now = datetime.now(UTC)
    Environment.objects.filter(pk=environment.pk).update(retention_days=20)
    name = EventName.objects.create(
        environment=environment, name="x", first_seen_at=now, last_seen_at=now, count=9
    )
    for days in (1, 8, 22):
        for counts in (EventMinute, EventHour):
            counts.objects.create(
                environment=environment, event_name=name, start=now - timedelta(days=days), count=3
            )
    tasks.maintain(0)
    assert (EventMinute.objects.count(), EventHour.objects.count()) == (1, 2)
    assert EventName.objects.get().count == 9


def test_receipts__are_deleted_after_a_week(environment: Environment) -> None:
    player = make_player(environment)
    with connection.cursor() as cursor:
        for days in (6, 8):
            cursor.execute(
                "INSERT INTO event_receipt VALUES (%s, %s, now() - make_interval(days => %s))",
                [player.pk, bytes([days]) * 16, days],
            )
        tasks.delete_old("event_receipt", tasks.RECEIPT_DAYS)
        cursor.execute("SELECT count(*) FROM event_receipt")
        assert cursor.fetchone() == (1,)
