"""Reads the events of a time span in order of arrival, holding few in memory.

Each hour is a separate statement, which keeps transactions and sorts short.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction

from events.log_reader import Filter, event_of
from events.schemas import StreamedEvent
from events.search import TimeRange
from ilara_admin.core.audit import Actor, audit_record
from ilara_admin.core.spreadsheet import cell
from ilara_admin.models import AuditAction, AuditEntry, Environment

HOUR = timedelta(hours=1)
FETCH_ROWS = 2_000
COLUMNS = (
    "event_id", "player_id", "event_name", "timestamp", "received_at", "session_id", "properties",
)  # fmt: skip


class Hour(NamedTuple):
    """An hour, or part of one. `end` is exclusive."""

    start: datetime
    end: datetime


def hours(since: datetime, until: datetime) -> Iterator[Hour]:
    while since < until:
        end = min(since + HOUR, until)
        yield Hour(since, end)
        since = end


def progress(since: datetime, until: datetime, hour: Hour) -> tuple[int, int]:
    """Seconds done after this hour, and seconds in total."""
    return round((hour.end - since).total_seconds()), round((until - since).total_seconds())


def read(environment_id: int, hour: Hour, name: str | None = None) -> Iterator[StreamedEvent]:
    """The events that arrived in an hour, of all names or of one."""
    sql, params = statement(environment_id, hour, name)
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(sql, params)
        while rows := cursor.fetchmany(FETCH_ROWS):
            for row in rows:
                yield event_of(*row)


def statement(environment_id: int, hour: Hour, name: str | None) -> tuple[str, list[Any]]:
    named = "" if name is None else " AND name = %s"
    sql = f"""
        SELECT event_id, player_id, name, occurred_at, received_at, session_id, properties::text
        FROM event
        WHERE environment_id = %s AND received_at >= %s AND received_at < %s{named}
        ORDER BY received_at, id"""
    return sql, [environment_id, *hour, *([] if name is None else [name])]


def row(event: StreamedEvent) -> list[str]:
    """The values of COLUMNS. Times are formatted as in the API; a missing session is empty. Texts
    of clients do not run as formulas in a spreadsheet."""
    return [
        cell(event.event_id),
        str(event.player_id),
        cell(event.event_name),
        *(
            moment.isoformat().replace("+00:00", "Z")
            for moment in (event.timestamp, event.received_at)
        ),
        cell(event.session_id or ""),
        bytes(event.properties).decode(),
    ]


def record(
    environment: Environment, since: datetime, until: datetime, name: str | None, count: int, *,
    actor: Actor, reason: str = "",
) -> AuditEntry:  # fmt: skip
    """The audit entry of an export of `count` events by the command."""
    fields = {"since": since.isoformat(), "until": until.isoformat(), "event": name}
    return _record(environment, fields, count, actor, reason)


def record_download(
    environment: Environment, wanted: Filter, span: TimeRange, count: int, *, actor: Actor
) -> AuditEntry:
    """The audit entry of a download of `count` events. It names the property of a filter, but not
    the value, which may be personal."""
    fields = {
        "since": span.since.isoformat() if span.since else None,
        "until": span.until.isoformat() if span.until else None,
        "event": wanted.event_name,
        "player": str(wanted.player_id) if wanted.player_id else None,
        "property": wanted.where.name if wanted.where else None,
    }
    return _record(environment, fields, count, actor, "")


def _record(
    environment: Environment, fields: dict[str, str | None], count: int, actor: Actor, reason: str
) -> AuditEntry:
    given = {name: value for name, value in fields.items() if value is not None}
    return audit_record(
        AuditAction.ENVIRONMENT_EVENTS_EXPORTED,
        actor,
        environment=environment,
        object_id=environment.pk,
        object_name=str(environment),
        after={**given, "events": count},
        reason=reason,
    )
