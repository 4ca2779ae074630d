"""Fills an environment with players, their ledgers, events, segments, lists and flags.

PostgreSQL draws the rows; only the ids of players come from Python, as it has no uuid5. Players are
numbered by when they were last seen, the most recent first, and an event belongs to a player who
was seen later: the columns of a player agree with the ledgers and events.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from msgspec.structs import replace

from events import partitions, rollups
from flags.engine.bucketing import reweight
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Ramp,
    Rule,
    ValueType,
    Variant,
    boolean_document,
)
from flags.models import Flag
from flags.services import flag_create
from flags.usage import environment_recount
from ilara_admin.core.audit import Actor
from ilara_admin.core.progress import Progress
from ilara_admin.core.projects import environment_update
from ilara_admin.models import Environment
from players.aliases import player_alias_link
from players.models import Player, player_id_for
from players.notes import note_add
from players.values import values_fill
from segments.lists.services import ids_add
from segments.models import Segment
from segments.services import segment_create
from segments.tasks import size_count

ACTOR = Actor.of_command("bench")
PLAYER_DAYS = 60  # the player last seen longest ago
EVENT_DAYS = 30
RECEIPT_DAYS = 7
CHUNK_EVENTS = 250_000
USAGE_DAYS = 14
LISTED = 1_000  # ids on the list of every tenth segment


class Size(NamedTuple):
    players: int
    events: int
    segments: int
    flags: int


def load(environment: Environment, size: Size, progress: Progress) -> None:
    """Fill an empty environment and count its events. Vacuum afterwards."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "environment": environment.pk,
        "players": size.players,
        "now": now,
    }
    progress("Players", 0, 1)
    environment_update(environment, {"searchable_attributes": ["guild"]}, actor=ACTOR)
    values_fill(environment.pk)
    _ids_copy(environment, size.players)
    with connection.cursor() as cursor:
        for statement in (PLAYERS, SESSIONS, PURCHASES):
            cursor.execute(statement, values)
    progress("Players", 1, 1)
    partitions.ensure((now - timedelta(EVENT_DAYS)).date(), EVENT_DAYS + partitions.DAYS_AHEAD)
    for start in range(0, size.events, CHUNK_EVENTS):
        progress("Events", start, size.events)
        end = min(start + CHUNK_EVENTS, size.events)
        with connection.cursor() as cursor:
            cursor.execute(EVENTS, {**values, "events": size.events, "start": start, "end": end})
    with connection.cursor() as cursor:
        cursor.execute(RECEIPTS, values)
        cursor.execute(REJECTED, values)
        cursor.execute("ANALYZE")
    progress("Events", size.events, size.events)
    _segments_create(environment, size.segments, progress)
    _flags_create(environment, size.flags, progress)
    with connection.cursor() as cursor:
        cursor.execute(USAGE, {**values, "days": USAGE_DAYS})
    environment_recount(environment)
    _support_fill(environment)
    progress("Counts", 0, 1)
    rollups.fold()
    if counted := Segment.objects.filter(environment=environment).first():
        size_count(counted.pk)  # pages take the number of players from the newest count
    progress("Counts", 1, 1)


# --- Players and events -------------------------------------------------------------------------


def _ids_copy(environment: Environment, count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE bench_player (n int PRIMARY KEY, id uuid NOT NULL)")
        with cursor.copy("COPY bench_player (n, id) FROM STDIN") as copy:
            for number in range(1, count + 1):
                copy.write_row((number, player_id_for(environment.namespace, f"player_{number}")))
        cursor.execute("ANALYZE bench_player")


# Every 25th player has paid, up to three times. One in fifty has returned after a pause.
PLAYERS = f"""
INSERT INTO player (id, environment_id, external_id, device_id, email, attributes, session_count,
    active_days, purchase_count, total_revenue, first_seen_at, last_seen_at, last_active_on,
    activity, active_since, returned_at, gap_before_return)
SELECT id, %(environment)s, 'player_' || n, 'dev_' || left(md5(n::text), 12),
    CASE WHEN n %% 5 < 2 THEN 'player' || n || '@example.com' END,
    jsonb_build_object(
        'level', 1 + (random() * 79)::int,
        'country', (ARRAY['US','GB','DE','FR','JP','BR','IN','KR','ES','IT'])[1 + n %% 10],
        'platform', (ARRAY['ios','android','pc'])[1 + n %% 3],
        'app_version', '2.' || (random() * 9)::int || '.' || (random() * 20)::int,
        'coins', (random() * 10000)::int,
        'is_vip', random() < 0.05,
        'language', (ARRAY['en','de','fr','pt'])[1 + n %% 4],
        'guild', 'guild-' || (random() * 5000)::int,
        'stats', jsonb_build_object('wins', (random() * 900)::int, 'losses', n %% 700)),
    1, bit_count(bits::varbit), paid, paid * 4.99, first, last, (last AT TIME ZONE 'UTC')::date,
    bits::varbit, coalesce(back, first), back, CASE WHEN back IS NOT NULL THEN interval '40 d' END
FROM (
    SELECT *, CASE WHEN n %% 25 = 0 THEN 1 + n %% 3 ELSE 0 END AS paid,
        CASE WHEN n %% 50 = 7 THEN first + random() * (last - first) END AS back,
        CASE WHEN days = 0 THEN '1' ELSE '1' || left(repeat('01001', days), days - 1) || '1' END
            AS bits
    FROM (
        SELECT *, (last AT TIME ZONE 'UTC')::date - (first AT TIME ZONE 'UTC')::date AS days
        FROM (
            SELECT *, last - random() ^ 2 * interval '180 days' AS first
            FROM (SELECT n, id, %(now)s - (n::float8 / %(players)s) ^ 3
                      * interval '{PLAYER_DAYS} days' AS last FROM bench_player) a) b) c) d
ORDER BY id"""
SESSIONS = """
INSERT INTO player_session (player_id, digest, session_id, started_at, duration_seconds,
    received_at)
SELECT id, decode(md5('s' || id), 'hex'), 's-' || id, last_seen_at - interval '20 minutes',
    60 + (random() * 1140)::int, last_seen_at
FROM player WHERE environment_id = %(environment)s"""
PURCHASES = """
INSERT INTO purchase (player_id, environment_id, digest, transaction_id, amount, currency, counted,
    verified, product_id, received_at)
SELECT id, environment_id, decode(md5('p' || id || k), 'hex'), 'GPA.' || k || id, 4.99, 'USD', true,
    true, 'gems_medium', last_seen_at - (k - 1) * (last_seen_at - first_seen_at) / purchase_count
FROM player, generate_series(1, purchase_count) k WHERE environment_id = %(environment)s
ORDER BY last_seen_at"""
# Few players send most events: the square of an even draw.
EVENTS = f"""
INSERT INTO event (player_id, received_at, environment_id, event_id, name, session_id, properties,
    occurred_at)
SELECT id, at, %(environment)s, 'evt_' || md5(e::text), name, 's-' || e / 20,
    jsonb_build_object('level', e %% 60, 'stars', e %% 4, 'score', e %% 9973, 'item', 'sword_01'),
    at - interval '2 s'
FROM (
    SELECT e, %(now)s - ago * interval '1 day' AS at,
        (ARRAY['level_start','level_start','level_start','level_complete','level_complete',
               'level_fail','level_fail','item_bought','login','ad_shown','chat_sent',
               'gift_' || e %% 13])[1 + (random() * 11)::int] AS name,
        ceil(random() ^ 2 * %(players)s * cbrt(ago / {PLAYER_DAYS}))::int AS n
    FROM generate_series(%(start)s::bigint, %(end)s::bigint - 1) e,
        LATERAL (SELECT {EVENT_DAYS} * (1 - e::float8 / %(events)s) AS ago) moment) drawn
JOIN bench_player USING (n) ORDER BY e"""
RECEIPTS = f"""
INSERT INTO event_receipt (player_id, digest, received_at)
SELECT player_id, decode(md5(event_id), 'hex'), received_at FROM event
WHERE environment_id = %(environment)s
    AND received_at >= %(now)s::timestamptz - interval '{RECEIPT_DAYS} days' ORDER BY received_at"""
REJECTED = """
INSERT INTO event_rejected (environment_id, received_at, event_name, player, code, message, field,
    payload)
SELECT %(environment)s, %(now)s - n * interval '1 s', 'level_complete', 'player_' || n,
    'VALIDATION_ERROR', 'Invalid player_id format', 'player_id', '{"player_id": "player_1"}'
FROM generate_series(1, 1000) n"""


# --- Segments and flags -------------------------------------------------------------------------

type DrawnCondition = tuple[str, str, Any] | dict[str, Any]
EVENT_COUNT = {
    "event": "level_complete", "operator": ">=", "value": 2, "within": "7d",
    "where": {"operator": "AND",
              "conditions": [{"field": "stars", "operator": ">=", "value": 2}]},
}  # fmt: skip


def _all_of(*conditions: DrawnCondition) -> dict[str, Any]:
    written = [
        each
        if isinstance(each, dict)
        else dict(zip(("field", "operator", "value"), each, strict=True))
        for each in conditions
    ]
    return {"operator": "AND", "conditions": written}


def rule_of(number: int) -> dict[str, Any]:
    """A rule of three conditions, whose kinds depend on the number. Every tenth counts events,
    every tenth names two earlier segments."""
    kinds: list[DrawnCondition] = [
        ("level", ">=", number % 80),
        ("country", "in", ["US", "GB", "DE", "FR"][: 1 + number % 4]),
        ("total_revenue", ">", number % 5),
        ("app_version", "semver_gte", f"2.{number % 9}.0"),
        ("lifecycle_stage", "!=", "churned"),
        ("last_seen_at", "within_last", f"{1 + number % 30}d"),
        ("stats.wins", "<", 100 + number),
        ("platform", "==", "ios"),
        ("risk_score", ">", 0.3),
        ("email", "ends_with", "@example.com"),
    ]
    first: DrawnCondition = kinds[number % 10]
    if number % 10 == 7:
        first = EVENT_COUNT
    elif number % 10 == 3:
        first = ("segment", "in", [f"segment-{number - 1}", f"segment-{number - 2}"])
    return _all_of(first, kinds[(number + 1) % 10], kinds[(number + 4) % 10])


def _segments_create(environment: Environment, count: int, progress: Progress) -> None:
    for number in range(count):
        progress("Segments", number, count)
        segment = segment_create(
            environment=environment,
            key=f"segment-{number}",
            name=f"Segment {number}",
            rule=rule_of(number),
            actor=ACTOR,
        )
        if number % 10 == 5:
            ids = [f"player_{number + step}" for step in range(LISTED)]
            ids_add(segment, ids, excluded=number % 20 == 5, actor=ACTOR)
    progress("Segments", count, count)


def _document(number: int, segments: list[str], now: datetime) -> FlagDocument:
    rules: list[Rule] = []
    if segments:
        rules.append(
            Rule(id="by-segment", segment=segments[number % len(segments)], variant="enabled")
        )
    if number % 10 == 7:
        rules.append(Rule(id="often", conditions=_all_of(EVENT_COUNT), variant="enabled"))
    if number % 4 == 1:
        start, end = now - timedelta(days=3), now + timedelta(days=4)
        ramp = Ramp(from_=0, to=EVERYBODY, start=start, end=end)
        rules.append(Rule(id="ramp", variant="enabled", ramp=ramp))
    if number % 4 == 2:
        split = reweight((), {"enabled": 50_000, "disabled": 50_000})
        rules.append(Rule(id="split", conditions=rule_of(number * 10), split=split))
    rules.append(Rule(id="rest", variant="enabled", rollout=number * 997 % EVERYBODY))
    if number % 10 == 9:
        needed = (Prerequisite(flag=f"flag-{number - 1}", variants=("enabled",)),)
        return replace(boolean_document(enabled=True, rules=tuple(rules)), prerequisites=needed)
    if number % 10 == 4:
        return FlagDocument(
            value_type=ValueType.JSON,
            variants=(
                Variant(key="enabled", value={"price": 4.99, "badge": "new"}),
                Variant(key="disabled", value={}),
            ),
            default="disabled",
            off="disabled",
            enabled=True,
            rules=tuple(rules),
        )
    return boolean_document(enabled=number % 10 != 0, rules=tuple(rules))


def _flags_create(environment: Environment, count: int, progress: Progress) -> None:
    segments = list(Segment.objects.filter(environment=environment).values_list("key", flat=True))
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(count):
        progress("Flags", number, count)
        flag_create(
            environment=environment,
            key=f"flag-{number}",
            owner=f"Team {number % 7}",
            tags=[f"tag-{number % 11}"],
            document=_document(number, segments, now),
            actor=ACTOR,
        )
    progress("Flags", count, count)


# Each hour two variants of nineteen in twenty flags.
USAGE = """
INSERT INTO flag_usage (flag_id, hour, variant, count, single, last_at)
SELECT flag.id, moment, variant ->> 'key', 1000, 0, moment + interval '59 minutes'
FROM flag, generate_series(1, 24 * %(days)s) hours,
    date_trunc('hour', %(now)s - make_interval(hours => hours), 'UTC') moment,
    jsonb_path_query(document, '$.variants[0 to 1]') variant
WHERE environment_id = %(environment)s AND flag.id %% 20 <> 0
ORDER BY moment, flag.id"""


def _support_fill(environment: Environment) -> None:
    """Notes, a linked id and overrides of the players seen last."""
    flags = list(Flag.objects.of(environment)[:3])
    for player in Player.objects.of(environment).recent_first()[:3]:
        player_alias_link(player, f"guest-{player.external_id}", actor=ACTOR)
        note_add(player, "Lost the gems of the winter quest. Restored 120 gems.", actor=ACTOR)
        player.environment = environment
        for flag in flags:
            flag.overrides.create(player_id=player.pk, variant="enabled", author_name="Ada")
