"""Sizes of tables and the WAL that events write."""

import uuid
from collections.abc import Sequence
from random import SystemRandom
from time import perf_counter
from typing import NamedTuple

import msgspec
from django.db import connection
from django.test import Client

from players.models import PlayerQuerySet

TRACKED = "/v1/events/events"
# The tables that grow, partitions counted as one.
TABLES = ("player", "event", "event_receipt", "player_session", "purchase", "segment_member")


class TableSize(NamedTuple):
    """Bytes per row; `of_indexes` are part of `in_all`."""

    table: str
    rows: int
    in_all: int
    of_indexes: int


class Written(NamedTuple):
    """What an event writes, on average. Images are those of whole pages, which PostgreSQL writes
    with the first change of a page after a checkpoint: the fewer checkpoints, the fewer images."""

    wal: float  # bytes, starting at a checkpoint
    images: float
    wal_without_images: float
    hot: float  # share of the updates of players that are HOT
    per_second: float  # events, by one client


def sizes() -> list[TableSize]:
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [list(TABLES)])
        return [TableSize(*row) for row in cursor.fetchall()]


SIZES = """
SELECT name, sum(reltuples)::bigint, (sum(pg_total_relation_size(oid)) / sum(reltuples))::int,
    (sum(pg_indexes_size(oid)) / sum(reltuples))::int
FROM unnest(%s::text[]) WITH ORDINALITY AS t(name, place)
JOIN pg_class ON oid IN (SELECT relid FROM pg_partition_tree(name::regclass)
                         UNION SELECT name::regclass)
    AND relkind = 'r' AND reltuples > 0
GROUP BY name, place ORDER BY place"""


def written_by_events(players: PlayerQuerySet, token: str, events: int) -> Written:
    """Track single events of random ones of the players through the API, twice as many as `events`.
    Changes settings of the server, so nothing else may use it."""
    ids = list(players.values_list("id", flat=True))
    drawn = SystemRandom().choices(ids, k=2 * events)
    client = Client(SERVER_NAME="localhost", headers={"X-API-Key": token})
    _execute("CHECKPOINT")
    seconds, wal, images, updates, hot = _track(client, drawn[:events])
    _execute("ALTER SYSTEM SET full_page_writes = off")
    _execute("SELECT pg_reload_conf()")
    _, wal_without, *_ = _track(client, drawn[events:])
    _execute("ALTER SYSTEM RESET full_page_writes")
    _execute("SELECT pg_reload_conf()")
    return Written(
        wal=wal / events,
        images=images / events,
        wal_without_images=wal_without / events,
        hot=hot / max(updates, 1),
        per_second=events / seconds,
    )


def _track(client: Client, players: Sequence[uuid.UUID]) -> tuple[float, ...]:
    """Seconds, bytes of WAL, images of pages, updates of players, HOT ones among them."""
    before, started = _counters(), perf_counter()
    for player in players:
        body = {
            "player_id": str(player),
            "event_name": "level_complete",
            "event_id": uuid.uuid4().hex,
            "properties": {"level": 12, "stars": 3, "score": 12_500, "item": "sword_01"},
        }
        data = msgspec.json.encode(body)
        reply = client.post(TRACKED, data, content_type="application/json", secure=True)
        if reply.status_code != 201:
            raise RuntimeError(f"{TRACKED} answered {reply.status_code}: {reply.content!r}")
    seconds = perf_counter() - started
    return seconds, *(after - each for after, each in zip(_counters(), before, strict=True))


def _counters() -> tuple[int, ...]:
    _execute("SELECT pg_stat_force_next_flush()")
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, wal_fpi, n_tup_upd, n_tup_hot_upd
               FROM pg_stat_wal, pg_stat_user_tables WHERE relname = 'player'"""
        )
        return tuple(int(each) for each in cursor.fetchone())


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
