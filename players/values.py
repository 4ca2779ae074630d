"""The fields that staff find players by, and the job that completes the rows of PlayerValue.

E-mail address and device id have indexes of their own. For attributes a trigger writes the rows
when a value changes. Declaring an attribute searchable leaves the players that exist without one;
no longer declaring it leaves rows behind.
"""

import uuid
from typing import Any

from django.db import connection, transaction
from psycopg import sql

from ilara_admin.core.changes import Fields
from ilara_admin.core.jobs import defer_once
from ilara_admin.models import Environment
from players.models import ValueFill

EMAIL, DEVICE_ID, ATTRIBUTE = "email", "device_id", "attributes."
BATCH = 1_000  # rows of one transaction
POSITION_BITS = 32  # of the 128 of a player's id
END = 2**POSITION_BITS
TASK = "players.tasks.fill_values"


def searchable_fields(environment: Environment) -> list[str]:
    return [EMAIL, DEVICE_ID, *map(ATTRIBUTE.__add__, environment.searchable_attributes)]


def fill_shares(environment: Environment) -> dict[str, float]:
    """The searchable fields of which not all values can be found yet, each with the share of the
    players whose values can."""
    fills = dict(ValueFill.objects.filter(environment=environment).values_list("field", "position"))
    return {field: fills[field] / END for field in searchable_fields(environment) if field in fills}


# --- Completing -----------------------------------------------------------------------------------


def searchable_changed(environment: Environment, before: Fields, after: Fields) -> None:
    """Complete the rows of attributes that became searchable, and remove those of others."""
    name = "searchable_attributes"
    names = set(before.get(name, ())) ^ set(after.get(name, ()))
    if not names:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO player_value_fill AS f (environment_id, field, position)
               SELECT %s, field, 0 FROM unnest(%s::text[]) field
               ON CONFLICT (environment_id, field) DO UPDATE SET position = 0""",
            [environment.pk, [ATTRIBUTE + each for each in sorted(names)]],
        )
    fill_defer(environment.pk)


def fill_defer(environment_id: int) -> None:
    defer_once(TASK, {f"players.fill_values.{environment_id}": {"environment_id": environment_id}})


def values_fill(environment_id: int) -> None:
    """Work through the fields of an environment that are not complete. Raises OperationalError if
    other transactions that write players do not end within PATIENCE."""
    fills = ValueFill.objects.filter(environment_id=environment_id)
    if fills.exists():
        attributes_watch()
    while fill := fills.order_by("field").first():
        if fill.position == 0:
            _clear(fill)
        while fill_advance(fill):
            pass


@transaction.atomic
def attributes_watch() -> None:
    """Let the triggers of players run for attributes that any environment declares searchable.

    The names are part of the triggers: looking them up at every change of attributes would slow
    down writing players by more than a tenth. The lock excludes transactions that write players, so
    that all others see the new triggers.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        cursor.execute("LOCK TABLE player IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SET LOCAL lock_timeout = DEFAULT")
        declared = Environment.objects.values_list("searchable_attributes", flat=True)
        names = sorted({name for each in declared for name in each})
        inserted: sql.Composable = sql.SQL("false")
        updated: list[sql.Composable] = [sql.SQL("false")]
        if len(names) > MAX_WATCHED:
            inserted = sql.SQL("NEW.attributes <> '{}'")
            updated = [sql.SQL("OLD.attributes <> NEW.attributes")]
        elif names:
            inserted = sql.SQL("NEW.attributes ?| {}").format(sql.Literal(names))
            updated = [
                sql.SQL("OLD.attributes -> {0} IS DISTINCT FROM NEW.attributes -> {0}").format(
                    sql.Literal(name)
                )
                for name in names
            ]
        statement = sql.SQL(TRIGGERS).format(
            inserted=inserted, updated=sql.SQL(" OR ").join(updated)
        )
        cursor.execute(statement.as_string(cursor.connection).replace("%", "%%"), [])


# Registrations wait meanwhile; PostgreSQL cancels an autovacuum after deadlock_timeout, 1 s.
PATIENCE = "1500ms"
MAX_WATCHED = 50
TRIGGERS = """
CREATE OR REPLACE TRIGGER player_value_inserted AFTER INSERT ON player
FOR EACH ROW WHEN ({inserted}) EXECUTE FUNCTION player_value_insert();
CREATE OR REPLACE TRIGGER player_value_updated AFTER UPDATE OF attributes ON player
FOR EACH ROW WHEN ({updated}) EXECUTE FUNCTION player_value_update()"""


def _clear(fill: ValueFill) -> None:
    """Delete the rows of the field; they may be older than its declaration."""
    found = BATCH
    while found == BATCH:
        with connection.cursor() as cursor:
            cursor.execute(
                """DELETE FROM player_value WHERE (player_id, field) IN (
                       SELECT player_id, field FROM player_value
                       WHERE environment_id = %s AND field = %s LIMIT %s)""",
                [fill.environment_id, fill.field, BATCH],
            )
            found = cursor.rowcount


# Keeps the players from being erased until the rows are stored. A row that exists is newer than
# what this statement read.
FILL = """
WITH batch AS MATERIALIZED (
    SELECT id, player_searchable(attributes -> %(name)s) AS value FROM player
    WHERE environment_id = %(environment)s AND id >= %(first)s
    ORDER BY id LIMIT %(limit)s FOR KEY SHARE)
, written AS (
    INSERT INTO player_value (player_id, field, environment_id, value)
    SELECT id, %(field)s, %(environment)s, value FROM batch WHERE value IS NOT NULL ORDER BY id
    ON CONFLICT DO NOTHING)
SELECT count(*), max(id::text) FROM batch"""


@transaction.atomic
def fill_advance(fill: ValueFill) -> bool:
    """Store the values of the next players; False at the end, or if the field changed meanwhile."""
    environment = Environment.objects.get(pk=fill.environment_id)
    last = END
    if fill.field in searchable_fields(environment):
        last = _store(fill)
    # The row as it was read: a change of the settings starts again at 0.
    unchanged = ValueFill.objects.filter(
        environment=environment, field=fill.field, position=fill.position
    )
    if last == END:
        unchanged.delete()
        return False
    fill.position = last
    return bool(unchanged.update(position=last))


def _store(fill: ValueFill) -> int:
    """The position of the last player, END if there are no more. The next batch starts there, as
    some of the players with these bits may be left; ids are hashes, so they are few."""
    values: dict[str, Any] = {
        "environment": fill.environment_id,
        "field": fill.field,
        "name": fill.field.removeprefix(ATTRIBUTE),
        "first": uuid.UUID(int=fill.position << 128 - POSITION_BITS),
        "limit": BATCH,
    }
    with connection.cursor() as cursor:
        cursor.execute(FILL, values)
        count, last = cursor.fetchone()
    return END if count < BATCH else uuid.UUID(last).int >> 128 - POSITION_BITS
