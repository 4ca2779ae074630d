"""The SQL of the Players API. Each statement extends ENV_SQL of ilara_admin/api/dispatch.py and is
one round trip; its parameters start at $4.

Each names the player's id by parameter, not by a column of another table: if players are
distributed, the parameter tells the shard.

The thresholds are parameters because the conflict clause of an upsert into a distributed table
cannot read another table.
"""

import uuid
from functools import cache
from itertools import count

from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.errors import ApiError, not_found
from ilara_admin.core.db import Row
from players.event_log import (
    PURCHASE_EVENT,
    REFUND_EVENT,
    REVERSAL_EVENT,
    SESSION_EVENT,
    insert_sql,
)
from players.record import COLUMNS, NOT_FOUND, UNKNOWN_PLAYER, PlayerRow, player_of

# The player's id as SQL. Everything about a player is found by it instead of by `p.id`: then Citus
# sends the statement to one shard. $4 is the id, or the one derived from an external id or alias.
# With an alias, a reference table on Citus, the shard is not known beforehand: all are asked.
BY_ID = "$4"
BY_EXTERNAL_ID = "coalesce((SELECT a.player_id FROM player_alias a WHERE a.id = $4), $4)"

PURCHASE_FIELDS = """jsonb_strip_nulls(jsonb_build_object(
    'amount', entry.amount, 'currency', entry.currency, 'transaction_id', entry.transaction_id,
    'product_id', entry.product_id, 'counted', entry.counted, 'verified', entry.verified))"""


def seen(now: str, at_risk_days: str, churned_days: str) -> str:
    """Assignments for `UPDATE player p`: the player was seen at the SQL time `now`."""
    day = f"({now} AT TIME ZONE 'UTC')::date"
    at_risk = f"{now} - p.last_seen_at >= make_interval(days => {at_risk_days}::int)"
    back = f"{now} - p.last_seen_at >= make_interval(days => {churned_days}::int)"
    return f"""
        last_seen_at = greatest(p.last_seen_at, {now}),
        active_days = p.active_days + (p.last_active_on < {day})::int,
        activity = CASE WHEN p.last_active_on < {day}
            THEN p.activity || (repeat('0', {day} - p.last_active_on - 1) || '1')::varbit
            ELSE p.activity END,
        last_active_on = greatest(p.last_active_on, {day}),
        active_since = CASE WHEN {at_risk} THEN {now} ELSE p.active_since END,
        returned_at = CASE WHEN {back} THEN {now} ELSE p.returned_at END,
        gap_before_return =
            CASE WHEN {back} THEN {now} - p.last_seen_at ELSE p.gap_before_return END"""


FIND = f"""
SELECT env.config_version, env.now, {COLUMNS}
FROM env LEFT JOIN player p ON p.id = {BY_ID} AND p.environment_id = env.id"""


def find_player(request: ApiRequest, player_id: uuid.UUID) -> PlayerRow:
    """Load the player in one statement. Raises 404 if it does not exist in the environment."""
    return player_or_404(request, player_id, run_one(request, FIND, [player_id]))


def player_or_404(request: ApiRequest, player_id: uuid.UUID, row: Row) -> PlayerRow:
    """The player in a row of COLUMNS. Raises 404 if the id is None: no player found."""
    if row[0] is None:
        raise unknown_player(request, player_id)
    return player_of(row)


FIND_BY_EXTERNAL_ID = f"""
SELECT env.config_version, env.now, {COLUMNS}
FROM env LEFT JOIN player p ON p.id = {BY_EXTERNAL_ID} AND p.environment_id = env.id"""

_ELSEWHERE = """
SELECT env.config_version, env.now, (
    SELECT e.slug FROM environment e JOIN player p ON p.environment_id = e.id
    WHERE e.project_id = env.project_id AND {condition} LIMIT 1)
FROM env"""
ELSEWHERE = _ELSEWHERE.format(condition="p.id = $4")
ELSEWHERE_BY_EXTERNAL_ID = _ELSEWHERE.format(condition='p.external_id COLLATE "C" = $4')


def unknown_player(request: ApiRequest, player: uuid.UUID | str) -> ApiError:
    """The 404 for a player's id (a UUID) or external id. With a secret key it names another
    environment of the project that has the player: the usual reason is the other one's key."""
    if request.api_key.secret:
        sql = ELSEWHERE_BY_EXTERNAL_ID if isinstance(player, str) else ELSEWHERE
        if slug := run_one(request, sql, [player])[0]:
            here = request.snapshot.slug
            return not_found(
                f"{NOT_FOUND} in {here}, the environment of this key. It is registered in {slug}: "
                f"use a key of {slug}."
            )
    return not_found(UNKNOWN_PLAYER)


FIND_WITH_ACTIVITY = f"""
SELECT env.config_version, env.now, {COLUMNS}, p.activity
FROM env LEFT JOIN player p ON p.id = $4 AND p.environment_id = env.id"""


# Of device_id, email and attributes, `columns` are those that the request gives. The statements set
# no others: PostgreSQL parses the condition of a trigger each time a statement sets its column.


# If the external id is an alias, updates its player. player_registered_by locks the id, then reads
# the alias; see aliases.py.
#
# $4 id, $5 external_id, $6 device_id, $7 email, $8 attributes, $9 at_risk_days, $10 churned_days,
# and with attributes $11 those to remove
@cache
def upsert(columns: tuple[str, ...]) -> str:
    merged = {"attributes": "(p.attributes || excluded.attributes) - $11::text[]"}
    given = [f"{column} = {merged.get(column, f'excluded.{column}')}" for column in columns]
    return f""", written AS (
    INSERT INTO player AS p (
        id, environment_id, external_id, device_id, email, attributes,
        first_seen_at, last_seen_at, last_active_on, active_since)
    SELECT player_registered_by($4::uuid), env.id, $5, $6::text, $7::text, $8::jsonb,
           env.now, env.now, (env.now AT TIME ZONE 'UTC')::date, env.now
    FROM env WHERE env.open
    ON CONFLICT (id) DO UPDATE SET
        {", ".join([*given, seen("excluded.last_seen_at", "$9", "$10")])}
    RETURNING {COLUMNS}, (p.xmax = 0) AS created)
SELECT env.config_version, env.now, p.created, {COLUMNS} FROM env LEFT JOIN written p ON true"""


# $4 id, then the values of the columns, and after attributes those to remove
@cache
def patch(columns: tuple[str, ...]) -> str:
    number = count(5)
    given = [
        f"attributes = (p.attributes || ${next(number)}::jsonb) - ${next(number)}::text[]"
        if column == "attributes"
        else f"{column} = ${next(number)}::text"
        for column in columns
    ]
    return f""", written AS (
    UPDATE player p SET {", ".join(given)}
    FROM env WHERE p.id = $4 AND p.environment_id = env.id AND env.open
    RETURNING {COLUMNS})
SELECT env.config_version, env.now, {COLUMNS} FROM env LEFT JOIN written p ON true"""


_TARGET = """, target AS (
    SELECT p.id FROM player p JOIN env ON p.environment_id = env.id
    WHERE p.id = $4 AND env.open)"""


# $4 player, $5 digest, $6 session_id, $7 started_at, $8 duration_seconds,
# $9 at_risk_days, $10 churned_days
@cache
def session() -> str:
    return f"""{_TARGET}, entry AS (
    INSERT INTO player_session
        (player_id, digest, session_id, started_at, duration_seconds, received_at)
    SELECT target.id, $5, $6::text, coalesce($7::timestamptz, env.now), $8::int, env.now
    FROM target, env ON CONFLICT DO NOTHING
    RETURNING player_id, digest, session_id, started_at, duration_seconds)
, logged AS (
    {insert_sql()}
    SELECT player_id, env.now, env.id, coalesce(session_id, encode(digest, 'hex')),
           '{SESSION_EVENT}', session_id,
           jsonb_strip_nulls(jsonb_build_object('duration_seconds', duration_seconds)), started_at
    FROM entry, env)
, written AS (
    UPDATE player p SET
        session_count = p.session_count + (SELECT count(*) FROM entry)::int,
        {seen("env.now", "$9", "$10")}
    FROM env, target WHERE p.id = $4
    RETURNING {COLUMNS})
SELECT env.config_version, env.now, EXISTS (SELECT FROM entry), {COLUMNS}
FROM env LEFT JOIN written p ON true"""


# The names of the fields sent again that differ from the stored ones; a field that was not sent is
# null. Of a session: $1 player, $2 digest, $3 started_at, $4 duration_seconds. Of a purchase:
# $1 environment, $2 digest, $3 amount, $4 currency, $5 product_id, $6 player.
SESSION_CONFLICTS = """
SELECT array_remove(ARRAY[
    CASE WHEN started_at <> $3::timestamptz THEN 'started_at' END,
    CASE WHEN duration_seconds IS DISTINCT FROM coalesce($4::int, duration_seconds)
        THEN 'duration_seconds' END], NULL)
FROM player_session WHERE player_id = $1 AND digest = $2"""
PURCHASE_CONFLICTS = """
SELECT array_remove(ARRAY[
    CASE WHEN amount <> $3::numeric THEN 'amount' END,
    CASE WHEN currency <> $4::text THEN 'currency' END,
    CASE WHEN product_id IS DISTINCT FROM coalesce($5::text, product_id) THEN 'product_id' END,
    CASE WHEN player_id <> $6::uuid THEN 'player_id' END], NULL)
FROM purchase WHERE environment_id = $1 AND digest = $2"""


# $4 player, $5 digest, $6 transaction_id, $7 amount, $8 currency, $9 counted, $10 verified,
# $11 product_id, $12 at_risk_days, $13 churned_days
@cache
def purchase() -> str:
    return f"""{_TARGET}, entry AS (
    INSERT INTO purchase (player_id, environment_id, digest, transaction_id, amount, currency,
                          counted, verified, product_id, received_at)
    SELECT target.id, env.id, $5, $6::text, $7::numeric, $8, $9::bool, $10::bool, $11::text, env.now
    FROM target, env ON CONFLICT DO NOTHING RETURNING *)
, logged AS (
    {insert_sql()}
    SELECT player_id, env.now, env.id, coalesce(transaction_id, encode(digest, 'hex')),
           '{PURCHASE_EVENT}', NULL, {PURCHASE_FIELDS}, env.now
    FROM entry, env)
, counted AS (
    SELECT count(*)::int AS number, coalesce(sum(amount), 0) AS amount FROM entry WHERE counted)
, written AS (
    UPDATE player p SET
        purchase_count = p.purchase_count + counted.number,
        total_revenue = p.total_revenue + counted.amount,
        {seen("env.now", "$12", "$13")}
    FROM env, target, counted WHERE p.id = $4
    RETURNING {COLUMNS})
SELECT env.config_version, env.now, EXISTS (SELECT FROM entry), {COLUMNS}
FROM env LEFT JOIN written p ON true"""


def _refund(assignment: str, condition: str, sign: str, event: str, prefix: str) -> str:
    return f"""WITH entry AS (
    UPDATE purchase SET refunded_at = {assignment}
    WHERE player_id = $1 AND digest = $2 AND {condition}
    RETURNING *, statement_timestamp() AS at)
, written AS (
    UPDATE player p SET
        purchase_count = p.purchase_count {sign} entry.counted::int,
        total_revenue = p.total_revenue {sign} CASE WHEN entry.counted THEN entry.amount ELSE 0 END
    FROM entry WHERE p.id = $1
    RETURNING p.id)
, logged AS (
    {insert_sql()}
    SELECT player_id, at, environment_id,
           '{prefix}:' || encode(digest, 'hex') || ':'
               || (extract(epoch FROM at) * 1000000)::bigint,
           '{event}', NULL, {PURCHASE_FIELDS}, at
    FROM entry JOIN written ON written.id = entry.player_id)
SELECT amount, currency, counted, at FROM entry"""


# Returns no row if the purchase does not exist or is already refunded. Lock order as in PURCHASE:
# the ledger first. Does not count as activity of the player. Event ids include the time, as a
# purchase may be refunded again after a reversal.
#
# $1 player, $2 digest, and of a refund $3 the time, now if it is null
@cache
def refund() -> str:
    at = "coalesce($3::timestamptz, statement_timestamp())"
    return _refund(at, "refunded_at IS NULL", "-", REFUND_EVENT, "refund")


@cache
def reversal() -> str:
    return _refund("NULL", "refunded_at IS NOT NULL", "+", REVERSAL_EVENT, "refund_reversed")


# $4 after this id, $5 limit
LIST = f"""
SELECT env.config_version, env.now, {COLUMNS} FROM env LEFT JOIN LATERAL (
    SELECT * FROM player p WHERE p.environment_id = env.id AND p.id > $4 ORDER BY p.id LIMIT $5
) p ON true ORDER BY p.id"""
