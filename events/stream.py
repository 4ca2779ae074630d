"""The event stream: server-sent events as they arrive.

A stream holds a thread but no database connection. Each event carries the id to resume after, which
browsers send back as Last-Event-ID.
"""

import logging
import socket
from collections.abc import Iterator
from itertools import repeat
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from events import tail
from events.log_reader import Filter, LogEntry
from events.properties import visible
from events.schemas import StreamQuery
from events.tail import Arrival, Beginning, Subscription
from ilara_admin.api import environment_cache
from ilara_admin.api.bodies import to_struct
from ilara_admin.api.dispatch import ApiRequest, run_one
from ilara_admin.api.errors import ApiError, Code, invalid
from ilara_admin.api.json_schema import INTEGER_RANGE
from ilara_admin.core.shutdown import stopping
from ilara_admin.models import KeyScope

logger = logging.getLogger("ilara.events")

# A client that accepts no byte for this long is considered gone; else a shutdown would wait for it.
WRITE_SECONDS = 20.0
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
RETRY_MILLISECONDS = 3_000
RETRY_AFTER_STOP_MILLISECONDS = 1_000


def frame(arrival: Arrival) -> bytes:
    """An event, a gap, or a comment with the id to resume after, which fires no event."""
    if arrival.entry is not None:
        return b"id: %d\ndata: %s\n\n" % (arrival.cursor, arrival.entry.json)
    if arrival.missed:
        return b'event: gap\ndata: {"count":%d}\n\n' % arrival.missed
    return b": alive\nid: %d\n\n" % arrival.cursor


def respond(request: ApiRequest) -> HttpResponseBase:
    """A response that continues until the client disconnects, its key ends or the process stops."""
    wanted, after = _filter(request), _after(request)
    safe, ids = run_one(request, tail.BEGIN_SQL)
    beginning = Beginning(request.snapshot.version, request.now, safe, ids)
    try:
        reader = tail.subscribe(request.snapshot.environment_id, beginning, wanted, request.api_key)
    except tail.TooManyReadersError:
        raise ApiError(
            Code.INTERNAL_ERROR,
            "The server has reached its limit of event streams. Try again in a moment.",
            status=503,
            headers={"Retry-After": "5"},
        ) from None
    arrivals = reader.follow(after)
    if KeyScope.PERSONAL not in request.api_key.scopes:
        arrivals = map(without_personal, repeat(request.snapshot.environment_id), arrivals)
    return response(request, reader, map(frame, arrivals))


def without_personal(environment_id: int, arrival: Arrival) -> Arrival:
    """Without e-mail addresses and the properties that are personal now."""
    if arrival.entry is None:
        return arrival
    id, event, json = arrival.entry
    personal = environment_cache.of_environment(environment_id).personal_properties
    shown = visible(event.properties, personal)
    if shown != bytes(event.properties):
        event = msgspec.structs.replace(event, properties=msgspec.Raw(shown))
        json = msgspec.json.encode(event)
    return arrival._replace(entry=LogEntry(id, event, json))


def response(
    request: HttpRequest, reader: Subscription, frames: Iterator[bytes]
) -> HttpResponseBase:
    """A response that streams `frames`, made from the arrivals of `reader`."""
    connection.close()
    client = request.META.get("gunicorn.socket")
    if isinstance(client, socket.socket):
        client.settimeout(WRITE_SECONDS)
    return StreamingHttpResponse(
        Frames(reader, frames), content_type="text/event-stream", headers=HEADERS
    )


class Frames:
    """The bytes of a stream. `close` is called even if iteration never started."""

    def __init__(self, reader: Subscription, frames: Iterator[bytes]) -> None:
        self.reader = reader
        self.frames = frames

    def __iter__(self) -> Iterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS
        try:
            yield from self.frames
        except (OperationalError, InterfaceError) as error:
            # The client reconnects with its last id.
            logger.warning("a stream ended while catching up: %s", error)
        if stopping.is_set():
            yield b"retry: %d\n\n" % RETRY_AFTER_STOP_MILLISECONDS
        elif self.reader.ended:
            yield b": %s\n\n" % self.reader.ended.encode()

    def close(self) -> None:
        self.reader.close()


def _filter(request: ApiRequest) -> Filter:
    given = {name: text for name in request.GET if (text := request.GET[name])}
    query = to_struct(given, StreamQuery)
    player_id = None if query.player_id is None else UUID(query.player_id)
    return Filter(query.event_name, player_id)


def _after(request: ApiRequest) -> int | None:
    """The id to resume after. The header wins, because a reconnecting browser sends it with the
    original URL."""
    header, address = request.headers.get("Last-Event-ID", "").strip(), request.GET.get("after")
    after = _cursor(address, "after") if address else None
    return _cursor(header, "Last-Event-ID") if header else after


def _cursor(text: str, field: str) -> int:
    if (
        not (text.isascii() and text.isdigit() and len(text) <= 19)
        or int(text) not in INTEGER_RANGE
    ):
        raise invalid(f"{field} must be the id of an event in this stream", field)
    return int(text)
