"""GET /v1/events/events/stream, against a real server."""

import os
import queue
import random
import socket
import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from ilara_admin.core.api_keys import api_key_create, api_key_revoke, api_key_update
from ilara_admin.core.projects import environment_update
from ilara_admin.models import KeyKind
from tests.events.conftest import (
    ACTOR,
    STREAM,
    Game,
    Message,
    Reader,
    Server,
    database_session,
    insert,
    make_game,
    serving,
    wait_for,
)
from tests.homes import HANG_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

# --- Frames -------------------------------------------------------------------------------------


def test_event__has_the_shape_of_the_receipt_and_fires_onmessage(game: Game) -> None:
    player_id = game.register()
    reader = game.open()
    receipt = game.track(
        player_id,
        "level_complete",
        session_id="s1",
        properties={"level": 5, "text": "Grüße\n"},
        timestamp="2026-01-31T12:00:00Z",
    )
    message = reader.next()
    assert message.type == "message"
    assert int(message.last_event_id) >= 0
    assert message.data == receipt | {
        "session_id": "s1",
        "properties": {"level": 5, "text": "Grüße\n"},
    }
    assert message.data["timestamp"] == "2026-01-31T12:00:00Z"
    assert message.data["status"] == "accepted"


def test_response_headers__suit_server_sent_events(game: Game) -> None:
    reader = game.open()
    headers = reader.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["X-Request-Id"]
    assert reader.lines[0] == "retry: 3000"
    assert any(line.startswith(":") for line in reader.lines)


def test_idle_stream__sends_comments(game: Game) -> None:
    reader = game.open()
    before = len(reader.lines)
    wait_for(lambda: any(line.startswith(":") for line in reader.lines[before:]))
    assert reader.drain() == []


# --- Where it starts ----------------------------------------------------------------------------


def test_no_cursor__starts_from_now(game: Game) -> None:
    player_id = game.register()
    game.track(player_id, "before")
    reader = game.open()
    game.track(player_id, "after")
    assert reader.names(1) == ["after"]


def test_duplicate__is_not_sent_again(game: Game) -> None:
    player_id = game.register()
    reader = game.open()
    for name in ("one", "one", "two"):
        game.track(player_id, name, event_id=name)
    assert reader.names(2) == ["one", "two"]


@pytest.mark.parametrize("how", ["header", "after"])
def test_resume__starts_after_the_cursor_and_misses_nothing(how: str, game: Game) -> None:
    with database_session() as session:
        names = [f"e{number}" for number in range(1_200)]
        ids = insert(session, game.environment, *names)
        session.commit()
    cursor = str(ids[99])
    reader = game.open(cursor) if how == "header" else game.open(after=cursor)
    assert reader.names(1_100) == names[100:]
    player_id = game.register()
    game.track(player_id, "live")
    assert reader.names(1) == ["live"]


def test_resume__header_wins_over_the_query(game: Game) -> None:
    with database_session() as session:
        ids = insert(session, game.environment, "a", "b", "c")
        session.commit()
    reader = game.open(str(ids[1]), after=str(ids[0]))
    assert reader.names(1) == ["c"]


def test_resume_beyond_the_log__streams_new_events(game: Game) -> None:
    player_id = game.register()
    reader = game.open(after=str(2**62))
    assert int(reader.last_event_id) < 2**62
    game.track(player_id, "live")
    assert reader.names(1) == ["live"]


def test_cursor__advances_past_settled_events(game: Game) -> None:
    reader = game.open(event_name="never")
    with database_session() as session:
        (event,) = insert(session, game.environment, "other")
        session.commit()
    wait_for(lambda: int(reader.last_event_id) == event)
    assert reader.drain() == []


# --- Filters and errors -------------------------------------------------------------------------


def test_filters__must_both_match_live_and_on_resume(game: Game) -> None:
    one, two = game.register("one"), game.register("two")
    start = game.open().last_event_id
    live = game.open(event_name="a", player_id=one.upper(), unknown="ignored")
    for player_id in (one, two):
        for name in ("a", "b"):
            game.track(player_id, name)
    game.track(one, "a", properties={"last": True})
    for reader in (live, game.open(start, event_name="a", player_id=one)):
        found = [reader.next().data for _ in range(2)]
        assert [(event["event_name"], event["player_id"]) for event in found] == [("a", one)] * 2
        assert found[1]["properties"] == {"last": True}
    by_player = game.open(start, player_id=two)
    assert by_player.names(2) == ["a", "b"]


def test_other_environment__is_not_seen(game: Game) -> None:
    other = make_game(game.server)
    reader = game.open()
    other.track(other.register(), "theirs")
    game.track(game.register(), "ours")
    assert reader.names(1) == ["ours"]


BAD_VALUES: list[tuple[str, dict[str, str], str | None]] = [
    ("after", {"after": "-1"}, None),
    ("after", {"after": "x"}, None),
    ("after", {"after": "²"}, None),
    ("after", {"after": str(2**63)}, None),
    ("Last-Event-ID", {}, "x"),
    ("Last-Event-ID", {"after": "1"}, "1.5"),
    ("after", {"after": str(2**63)}, "1"),
    ("player_id", {"player_id": "player_123"}, None),
    ("event_name", {"event_name": "a\nb"}, None),
    ("event_name", {"event_name": "a" * 129}, None),
]


def test_invalid_value__is_refused_with_its_field(game: Game) -> None:
    for field, query, header in BAD_VALUES:
        reader = game.open(header, **query)
        assert reader.status == 400, (query, header)
        error = reader.error
        assert error["code"] == "VALIDATION_ERROR"
        assert error["details"][0]["field"] == field


def test_public_key__is_refused(game: Game) -> None:
    status, reply = game.server.call("GET", STREAM, game.public.token)
    assert status == 403
    assert reply["error"]["code"] == "UNAUTHORIZED"


def test_reader_over_the_limit__gets_503_with_retry_after(transactional_db: None) -> None:
    with serving(ILARA_THREADS="10") as server:
        game = make_game(server)
        readers = [game.open() for _ in range(2)]
        refused = game.open()
        assert refused.status == 503
        assert refused.response.headers["Retry-After"] == "5"
        assert refused.error["code"] == "INTERNAL_ERROR"
        readers[0].close()
        # The server notices at its next write, then the thread is free.
        game.track(game.register(), "a")
        game.track(game.register(), "b")
        wait_for(lambda: _is_accepted(game))


def _is_accepted(game: Game) -> bool:
    return game.open().status == 200


# --- Late commits -------------------------------------------------------------------------------


@pytest.mark.parametrize("begins_first", [True, False])
def test_late_commit__reaches_every_reader(begins_first: bool, game: Game) -> None:
    """Ids are drawn in the order late, early; `early` commits three seconds before `late`.

    `begins_first` means that the transaction of `late` begins first. If it begins second, snapshots
    taken in the meantime do not list it as in progress.
    """
    live = game.open()
    with database_session() as late, database_session() as early:
        for session in (late, early) if begins_first else (early, late):
            session.execute("SELECT pg_current_xact_id()")
        (late_id,) = insert(late, game.environment, "late")
        (early_id,) = insert(early, game.environment, "early")
        assert late_id < early_id
        early.commit()
        assert live.names(1) == ["early"]
        time.sleep(3)
        resumed_at = live.last_event_id
        assert int(resumed_at) < late_id
        resumed = game.open(resumed_at)
        assert resumed.names(1) == ["early"]
        late.commit()
    assert live.names(1) == ["late"]
    assert resumed.names(1) == ["late"]
    assert game.open(resumed_at).names(2) == ["late", "early"]
    wait_for(lambda: int(live.last_event_id) == early_id)
    assert game.open(live.last_event_id).drain() == []


def test_earlier_insert__reaches_a_reader_that_starts_before_its_commit(game: Game) -> None:
    with database_session() as late, database_session() as early:
        insert(late, game.environment, "late")
        insert(early, game.environment, "early")
        early.commit()
        reader = game.open()
        late.commit()
    assert reader.names(1) == ["late"]
    assert reader.drain() == []


def test_reconnecting_readers__see_every_event(transactional_db: None) -> None:
    """20 readers, while 8 writers use transactions of varying length and one stays open for three
    seconds."""
    with serving(ILARA_THREADS="80") as server:
        game = make_game(server)
        chance = random.Random(7)
        begun = game.open()
        writers = [threading.Thread(target=_write, args=(game, seed, 30)) for seed in range(8)]
        writers.append(threading.Thread(target=_write_late, args=(game, 3)))
        found: list[list[str]] = [[] for _ in range(20)]
        written: list[set[str]] = []
        readers = [
            threading.Thread(
                target=_read_and_reconnect,
                args=(game, begun.last_event_id, events, chance.randrange(1000), written),
            )
            for events in found
        ]
        for thread in [*writers, *readers]:
            thread.start()
        for thread in writers:
            thread.join()
        begun.close()
        with database_session() as session:
            rows = session.execute(
                "SELECT event_id, name FROM event WHERE environment_id = %s", [game.environment.pk]
            ).fetchall()
        stored = {row[0] for row in rows}
        written.append(stored)
        for thread in readers:
            thread.join()
    assert len(stored) > 500
    assert [name for _, name in rows].count("late") == 5
    for events in found:
        assert set(events) == stored
        assert len(events) < 10 * len(stored)


def _write_late(game: Game, seconds: float) -> None:
    with database_session() as session:
        insert(session, game.environment, *["late"] * 5)
        time.sleep(seconds)
        session.commit()


def _write(game: Game, seed: int, transactions: int) -> None:
    chance = random.Random(seed)
    with database_session() as session:
        for _ in range(transactions):
            if chance.random() < 0.5:
                session.execute("SELECT pg_current_xact_id()")
            for _ in range(chance.randint(1, 3)):
                insert(session, game.environment, *["e"] * chance.randint(1, 5))
                time.sleep(chance.choice([0, 0, 0.01, 0.2]))
            session.rollback() if chance.random() < 0.1 else session.commit()


def _read_and_reconnect(
    game: Game, cursor: str, events: list[str], seed: int, written: list[set[str]]
) -> None:
    """Read for a while and reconnect. Once `written` is set, at the end, stay until all of it is
    found."""
    chance = random.Random(seed)
    while not written:
        reader = _open(game, cursor)
        time.sleep(chance.uniform(0.05, 1.5))
        reader.close()
        cursor = reader.last_event_id
        events += [message.data["event_id"] for message in reader.drain()]
    reader = _open(game, cursor)
    with suppress(queue.Empty):
        while written[0] - set(events):
            events.append(reader.next().data["event_id"])
    reader.close()


def _open(game: Game, cursor: str) -> Reader:
    """A reader that resumes after `cursor`. The server notices a closed stream at its next send, so
    on a busy machine the threads of streams may all be in use: a client tries again."""
    while (reader := game.open(cursor)).status == 503:
        reader.close()
        time.sleep(0.5)
    return reader


# --- Slow readers -------------------------------------------------------------------------------


def test_slow_reader__gets_the_number_of_missed_events(game: Game) -> None:
    fast, slow = game.open(event_name="wanted"), game.open(event_name="wanted")
    slow.reading.clear()
    total = 4_000
    with database_session() as session:
        for _ in range(total // 100):
            insert(session, game.environment, *["wanted", "other"] * 100, size=10_000)
            session.commit()
            # The fast reader is not delayed by the slow one.
            assert [fast.next().type for _ in range(100)] == ["message"] * 100
    slow.reading.set()
    messages: list[Message] = []
    while sum(_events(message) for message in messages) < total:
        messages.append(slow.next())
    kinds = [message.type for message in messages]
    assert "gap" in kinds
    assert sum(_events(message) for message in messages) == total
    game.track(game.register(), "wanted")
    assert slow.names(1) == ["wanted"]


def _events(message: Message) -> int:
    count: int = message.data["count"] if message.type == "gap" else 1
    return count


# --- The end of a stream ------------------------------------------------------------------------


def test_revoked_key__ends_its_streams_only(game: Game) -> None:
    other = api_key_create(
        environment=game.environment, kind=KeyKind.SECRET, name="Other", actor=ACTOR
    )
    stays = game.server.open(other.token)
    ends = game.open()
    api_key_revoke(game.secret.key, actor=ACTOR)
    assert ends.ended.wait(HANG_SECONDS)
    assert any(": Invalid API key: it has been revoked" in line for line in ends.lines)
    assert game.open().status == 401
    game.track(game.register(), "a")
    assert stays.names(1) == ["a"]
    stays.close()


def test_key_whose_scopes_change__ends_its_streams_only(game: Game) -> None:
    stays = game.open()
    new = api_key_create(
        environment=game.environment,
        kind=KeyKind.SECRET,
        name="Other",
        actor=ACTOR,
        scopes=["personal", "stream"],
    )
    ends = game.server.open(new.token)
    api_key_update(new.key, {"name": "Renamed"}, actor=ACTOR)
    game.track(game.register(), "a")
    assert ends.names(1) == ["a"]
    api_key_update(new.key, {"scopes": ["stream"]}, actor=ACTOR)
    assert ends.ended.wait(HANG_SECONDS)
    assert any(": What the API key may do has changed" in line for line in ends.lines)
    environment_update(game.environment, {"personal_properties": ["city"]}, actor=ACTOR)
    masked = game.server.open(new.token)
    game.track(game.register(), "b", properties={"city": "Ulm"})
    assert masked.next().data["properties"] == {"city": "U***"}
    assert stays.names(2) == ["a", "b"]
    api_key_update(new.key, {"scopes": ["read"]}, actor=ACTOR)
    assert masked.ended.wait(HANG_SECONDS)
    assert game.server.open(new.token).status == 403


def test_expired_key__ends_its_stream(game: Game) -> None:
    key = api_key_create(
        environment=game.environment,
        kind=KeyKind.SECRET,
        name="Short",
        actor=ACTOR,
        expires_in=timedelta(seconds=5),
    )
    reader = game.server.open(key.token)
    assert reader.status == 200
    assert reader.ended.wait(HANG_SECONDS)
    assert any(": Invalid API key: it has expired" in line for line in reader.lines)
    reader.close()


def test_shutdown__ends_open_streams_at_once(transactional_db: None) -> None:
    with serving() as server:
        game = make_game(server)
        readers = [game.open() for _ in range(5)]
        server.stop()
        for reader in readers:
            # Sent by a stream that was woken; one that delays the shutdown is cut off silently.
            assert reader.ended.wait(HANG_SECONDS)
            assert "retry: 1000" in reader.lines
            reader.close()


# --- Connections --------------------------------------------------------------------------------


def test_streams__share_one_connection_and_release_it(transactional_db: None) -> None:
    with serving() as server:
        game = make_game(server)
        readers = [game.open(after="0") for _ in range(8)]
        wait_for(lambda: len(server.connections()) == 1)
        for reader in readers:
            reader.close()
        with database_session() as session:
            # Disconnects are noticed at the next writes.
            for name in ("a", "b", "c"):
                insert(session, game.environment, name)
                session.commit()
                time.sleep(0.4)
        wait_for(lambda: server.connections() == [])


def test_200_idle_streams__use_little_memory_and_few_connections(
    transactional_db: None,
) -> None:
    with serving(ILARA_THREADS="232") as server:
        game = make_game(server)
        player_id = game.register()
        before = _resident(server)
        streams = [_idle_stream(game) for _ in range(200)]
        try:
            assert _resident(server) - before < 200 * 2**20
            wait_for(lambda: len(server.connections()) < 10)
            game.track(player_id, "a")
            for stream in (streams[0], streams[-1]):
                stream.settimeout(10)
                heard = b""
                while b'"event_name":"a"' not in heard:
                    heard += stream.recv(65_536)
        finally:
            for stream in streams:
                stream.close()


def _idle_stream(game: Game) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", game.server.port), timeout=30)
    head = f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nX-API-Key: {game.secret.token}\r\n\r\n"
    stream.sendall(head.encode())
    assert stream.recv(65_536).startswith(b"HTTP/1.1 200")
    return stream


def _resident(server: Server) -> int:
    """Resident memory of the server's worker in bytes."""
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    (worker,) = path.read_text().split()
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_terminated_connections__are_reopened(transactional_db: None) -> None:
    with serving() as server, database_session() as session:
        game = make_game(server)
        reader = game.open()
        wait_for(server.connections)
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid",
            [server.connections()],
        )
        insert(session, game.environment, "a")
        session.commit()
        assert reader.names(1) == ["a"]
        assert not reader.ended.is_set()


def test_filter_by_an_unknown_player__is_allowed(game: Game) -> None:
    assert game.open(player_id=str(uuid.uuid4())).status == 200
