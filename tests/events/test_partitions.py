"""The daily partitions of the event table."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection

from events import partitions
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.events.conftest import database_session, wait_for
from tests.events.conftest import insert as insert_rows
from tests.factories import make_environment, make_player
from tests.serving import database_url

pytestmark = pytest.mark.django_db

FAR = date(2090, 5, 31)
FAR_MOMENT = datetime(2090, 5, 31, 12, tzinfo=UTC)


def names() -> list[str]:
    return [partition.name for partition in partitions.describe()]


def rows_of(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")
        return int(cursor.fetchone()[0])


def insert(player: Player, received_at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               VALUES (%s, %s, %s, 'e', 'start', '{}', %s)""",
            [player.pk, received_at, player.environment_id, received_at],
        )


def test_partitions_of_today_and_the_next_week__exist() -> None:
    today = datetime.now(UTC).date()
    for offset in range(7):  # not 8: the tests may have begun yesterday
        assert partitions.name_of(today + timedelta(days=offset)) in names()


def test_missing_partitions__are_created_and_returned() -> None:
    made = partitions.ensure(FAR, days_ahead=2)
    assert made == ["event_20900531", "event_20900601", "event_20900602"]
    assert set(made) <= set(names())


def test_second_run__creates_nothing() -> None:
    partitions.ensure(FAR, days_ahead=1)
    before = names()
    assert partitions.ensure(FAR, days_ahead=1) == []
    assert names() == before


def test_stray_rows__move_to_the_partitions_of_their_days(player: Player) -> None:
    start = datetime(2090, 5, 31, tzinfo=UTC)
    moments = [
        start - timedelta(microseconds=1),
        start,
        start + timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999),
        start + timedelta(days=1),
    ]
    for moment in moments:
        insert(player, moment)
    assert rows_of("event_default") == 4
    made = partitions.ensure(FAR, days_ahead=0)
    assert made == ["event_20900530", "event_20900531", "event_20900601"]
    assert rows_of("event_20900531") == 2
    assert rows_of("event_default") == 0
    insert(player, start)
    assert rows_of("event_20900531") == 3


def test_partition__has_the_indexes_of_the_table() -> None:
    partitions.ensure(FAR, days_ahead=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'event_20900531'")
        assert cursor.fetchone() == (4,)


def test_partition__covers_a_utc_day_in_any_session_time_zone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        partitions.ensure(FAR, days_ahead=0)
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        cursor.execute(
            """SELECT pg_get_expr(relpartbound, oid) FROM pg_class
               WHERE relname = 'event_20900531'"""
        )
        (bounds,) = cursor.fetchone()
    assert "'2090-05-31 00:00:00+00'" in bounds
    assert "'2090-06-01 00:00:00+00'" in bounds


def test_tracked_event__is_stored_in_today_s_partition(
    environment: Environment, public_api: Api
) -> None:
    player = make_player(environment)
    public_api.post(EVENTS, {"player_id": str(player.id), "event_name": "start"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, received_at FROM event")
        [(table, received_at)] = cursor.fetchall()
    assert table == partitions.name_of(received_at.astimezone(UTC).date())


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_rows_inserted_while_strays_are_moved__are_not_lost() -> None:
    """The worker was down, so events went to the default partition, and more keep arriving."""
    environment = make_environment()
    database_url()  # called in a thread first, it would open a Django connection there
    sent: list[int] = []
    writing = threading.Event()
    writing.set()

    def write() -> None:
        with database_session() as session:
            while writing.is_set():
                ids = insert_rows(session, environment, *"abc")
                session.execute(
                    "UPDATE event SET received_at = %s WHERE id = ANY(%s)", [FAR_MOMENT, ids]
                )
                session.commit()
                sent.extend(ids)

    writers = [threading.Thread(target=write) for _ in range(3)]
    try:
        for thread in writers:
            thread.start()
        wait_for(lambda: len(sent) > 100)
        assert partitions.ensure(FAR, days_ahead=0) == ["event_20900531"]
        before = len(sent)
        wait_for(lambda: len(sent) > before + 100)
    finally:
        writing.clear()
        for thread in writers:
            thread.join()
    assert (rows_of("event_20900531"), rows_of("event_default")) == (len(sent), 0)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE event_20900531")
