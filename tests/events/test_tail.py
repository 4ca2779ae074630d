"""The follower of the event log, in the test process."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from events import log_reader, rollups, tail
from events.log_reader import Filter
from events.tail import Arrival, Subscription
from ilara_admin.core import db
from ilara_admin.core.shutdown import stopping
from ilara_admin.models import Environment
from tests.events.conftest import database_session, insert, make_environment, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def environment(transactional_db: None) -> Iterator[Environment]:
    yield make_environment()
    while READERS:
        READERS.pop().close()
    wait_for(lambda: not followers())  # follower threads hold connections to the test database


def followers() -> list[str]:
    """The names of the follower threads."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("events-")]


READERS: list[Subscription] = []


def subscribe(environment: Environment, wanted: Filter = log_reader.EVERYTHING) -> Subscription:
    reader = tail.subscribe(environment.pk, tail.begin(environment.pk), wanted)
    READERS.append(reader)
    return reader


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all events offered to readers, queued or not."""
    names: list[str] = []
    offer = Subscription.offer

    def recording_offer(reader: Subscription, entry: log_reader.LogEntry, cursor: int) -> None:
        offer(reader, entry, cursor)
        names.append(entry.event.event_name)

    monkeypatch.setattr(Subscription, "offer", recording_offer)
    return names


def store(environment: Environment, *names: str) -> list[int]:
    with database_session() as session:
        ids = insert(session, environment, *names)
        session.commit()
    return ids


def take(arrivals: Iterator[Arrival], count: int) -> list[str | int]:
    """The names of the next events and the numbers of missed ones."""
    found: list[str | int] = []
    while len(found) < count:
        arrival = next(arrivals)
        if arrival.entry is not None:
            found.append(arrival.entry.event.event_name)
        elif arrival.missed:
            found.append(arrival.missed)
    return found


def test_slow_reader__gets_the_gap_in_order(
    environment: Environment, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "QUEUE_EVENTS", 2)
    reader = subscribe(environment)
    arrivals = reader.follow()
    next(arrivals)
    store(environment, *"abcde")
    wait_for(lambda: offered == [*"abcde"])
    assert take(arrivals, 3) == ["a", "b", 3]
    store(environment, "f")
    assert take(arrivals, 1) == ["f"]


def test_gap__counts_only_matching_events(
    environment: Environment, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "QUEUE_EVENTS", 1)
    reader = subscribe(environment, Filter("x"))
    arrivals = reader.follow()
    next(arrivals)
    store(environment, *"xaxbx")
    wait_for(lambda: offered == [*"xaxbx"])
    assert take(arrivals, 2) == ["x", 2]


def test_overflow_while_catching_up__rereads_without_repeating(
    environment: Environment, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "QUEUE_EVENTS", 2)
    monkeypatch.setattr(log_reader, "PAGE_ROWS", 2)
    first, *_ = store(environment, *"abcd")
    reader = subscribe(environment)
    arrivals = reader.follow(first - 1)
    assert take(arrivals, 1) == ["a"]
    store(environment, *"efghi")
    wait_for(lambda: offered == [*"efghi"])
    assert take(arrivals, 8) == [*"bcdefghi"]
    store(environment, "j")
    assert take(arrivals, 1) == ["j"]


def test_readers__share_one_thread_that_ends_with_the_last_reader(environment: Environment) -> None:
    readers = [subscribe(environment) for _ in range(3)]
    name = f"events-{environment.pk}"
    assert [thread.name for thread in threading.enumerate()].count(name) == 1
    for reader in readers:
        reader.close()
    wait_for(lambda: not followers())
    subscribe(environment)
    assert followers() == [name]


def test_database_outage__is_logged_once_and_loses_nothing(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tail, "POLL_SECONDS", 0.05)
    reader = subscribe(environment)
    arrivals = reader.follow()
    next(arrivals)
    polls = []

    def away(*args: Any, **options: Any) -> db.Row | None:
        polls.append(args)
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(db, "fetch_one", away)
        store(environment, "a")
        wait_for(lambda: len(polls) > 3)
    assert take(arrivals, 1) == ["a"]
    wait_for(lambda: len(caplog.records) == 2)
    assert [record.getMessage() for record in caplog.records] == [
        "the event stream waits for the database: away",
        "the event stream has resumed",
    ]


def test_crash_of_the_follower__ends_its_readers(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", crashes.append)
    reader = subscribe(environment)
    monkeypatch.setattr(db, "fetch_one", lambda *args, **options: 1 / 0)
    assert len(list(reader.follow())) == 1
    assert reader.ended
    wait_for(lambda: crashes)


def test_deleted_environment__ends_its_readers(environment: Environment) -> None:
    reader = tail.subscribe(-1, tail.begin(environment.pk))
    READERS.append(reader)
    assert [arrival.entry for arrival in reader.follow()] == [None]
    assert reader.ended == "This environment was deleted"


def test_old_open_transaction__reaches_a_reader_that_starts_before_its_commit(
    environment: Environment,
) -> None:
    """Its rows look settled by age, but they are not counted, so a reader does not skip them."""
    with database_session() as late, database_session() as early:
        for session, name in ((late, "late"), (early, "early")):
            insert(session, environment, name)
            session.execute(
                """UPDATE event SET received_at = received_at - interval '2 minutes'
                   WHERE environment_id = %s""",
                [environment.pk],
            )
        early.commit()
        reader = subscribe(environment)
        arrivals = reader.follow()
        next(arrivals)
        late.commit()
    assert take(arrivals, 1) == ["late"]


def test_beginning__is_the_last_counted_event(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "SETTLE_SECONDS", 0.1)
    (first,) = store(environment, "a")
    rollups.fold()
    (second,) = store(environment, "b")
    beginning = tail.begin(environment.pk)
    assert (beginning.safe, beginning.ids) == (first, [second])


def test_stop__ends_readers(environment: Environment) -> None:
    reader = subscribe(environment)
    arrivals = reader.follow()
    next(arrivals)
    stopping.set()
    try:
        assert list(arrivals) == []
        wait_for(lambda: not followers())
    finally:
        stopping.clear()


def test_newest__returns_the_latest_events_first(environment: Environment) -> None:
    store(environment, *"abcabc")
    found = log_reader.newest(environment.pk, 2)
    assert [entry.event.event_name for entry in found] == ["c", "b"]
    found = log_reader.newest(environment.pk, 5, Filter("a"))
    assert [entry.event.event_name for entry in found] == ["a", "a"]
    assert found[0].id > found[1].id
