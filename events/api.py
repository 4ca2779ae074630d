"""The Events API."""

from datetime import datetime
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from events import examples, ingest, rejections, schemas, stream
from events.conflicts import conflicts_of
from ilara_admin.api.bodies import decode_body, idempotency_key, parse_moment, read_object
from ilara_admin.api.dispatch import ApiRequest, count, respond, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import ApiError, Code, invalid, not_found
from ilara_admin.api.rate_limits import EVENTS
from ilara_admin.models import KeyScope
from players.record import UNKNOWN_PLAYER
from players.statements import unknown_player


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.EventTrack,
    basic=True,
    decodes_itself=True,
    docs=Docs(
        reply=schemas.EventReceipt,
        statuses={201: "The event is stored, or was already."},
        headers=("Idempotency-Key",),
        repeats=True,
        counts=(EVENTS,),
        missing=(UNKNOWN_PLAYER,),
        examples=examples.TRACK,
    ),
)
def event_track(request: ApiRequest) -> HttpResponse:
    """Track an event. It is stored before the response is sent. Sending the same `event_id` again
    returns `duplicate` and stores nothing, so retries are safe; the header `X-Ilara-Conflict` then
    names the fields that differ from the stored event. Event names need no declaration:
    the catalogue under Live events lists the names seen, with their properties, about ten seconds
    later. Updates the player's `last_seen_at`."""
    try:
        body = decode_body(request, schemas.EventTrack)
        sent_at = _sent_at(body)
        event = ingest.prepare(body, sent_at, idempotency_key(request))
    except ApiError as error:
        problem = error
        if (data := read_object(request)) is not None:
            if isinstance(data.get("events"), list):
                problem = invalid("Send a batch to POST /v1/events/events/batch", "events")
            rejections.record(request, [rejections.rejected(data, problem)])
        raise problem from None
    count(request, EVENTS)
    outcome = ingest.store(request, event, sent_at)
    player_id = UUID(event.player_id)
    if outcome.unknown:
        rejections.record(request, [rejections.of_unknown_player(event)])
        raise unknown_player(request, player_id)
    status = schemas.Status.ACCEPTED
    if outcome.duplicates:
        status = schemas.Status.DUPLICATE
        request.conflicts = conflicts_of([event], outcome, sent_at).get(0, ())
    receipt = schemas.EventReceipt(
        event_id=event.event_id,
        player_id=player_id,
        event_name=event.name,
        timestamp=ingest.occurred_at(event, outcome.received_at, sent_at),
        received_at=outcome.received_at,
        status=status,
    )
    return respond(receipt, status=201)


@endpoint(
    "POST",
    scope=KeyScope.TRACK,
    body=schemas.EventBatch,
    basic=True,
    checks_itself=("events",),
    docs=Docs(
        reply=schemas.BatchReceipt,
        statuses={200: "The result of each event."},
        repeats=True,
        counts=(EVENTS,),
        examples=examples.BATCH,
    ),
)
def event_batch(request: ApiRequest, body: schemas.EventBatch) -> HttpResponse:
    """Track up to 1,000 events. Each gets its own result: an invalid event, or one of an unknown
    player, does not affect the others. `conflicts` names what differs in a repeated `event_id`:
    the event stored first counts. If every event is rejected, the response is 400. Rejected
    events are also stored for 7 days under Live events, Rejected."""
    sent_at = _sent_at(body)
    errors: dict[int, ApiError] = {}
    prepared: dict[int, ingest.Prepared] = {}
    for index, item in enumerate(body.events):
        try:
            prepared[index] = ingest.prepare(ingest.read_event(item), sent_at)
        except ApiError as error:
            errors[index] = error
    refused = [rejections.rejected(body.events[index], error) for index, error in errors.items()]
    accepted = duplicates = 0
    conflicts: list[schemas.RepeatConflict] = []
    if prepared:
        count(request, EVENTS, len(prepared))
        indexes, events = list(prepared), list(prepared.values())
        outcome = ingest.store_batch(request, events, sent_at)
        for position in sorted(outcome.unknown):
            errors[indexes[position]] = not_found(UNKNOWN_PLAYER)
            refused.append(rejections.of_unknown_player(events[position]))
        duplicates = len(outcome.duplicates)
        accepted = len(events) - len(outcome.unknown) - duplicates
        if duplicates:
            conflicts = _conflicts(request, indexes, outcome, events, sent_at)
    if refused:
        rejections.record(request, refused)
    if len(errors) == len(body.events):
        raise _all_rejected(errors)
    results = [
        schemas.Rejection(index, schemas.RejectionCode(error.code), error.message, error.field)
        for index, error in sorted(errors.items())
    ]
    return respond(schemas.BatchReceipt(accepted, duplicates, results, conflicts))


def _conflicts(
    request: ApiRequest,
    indexes: list[int],
    outcome: ingest.StoreResult,
    events: list[ingest.Prepared],
    sent_at: datetime | None,
) -> list[schemas.RepeatConflict]:
    """The conflicts of a batch; `indexes` are the positions of `events` in it. The header names
    each field once."""
    found = conflicts_of(events, outcome, sent_at)
    request.conflicts = tuple(dict.fromkeys(name for names in found.values() for name in names))
    return [
        schemas.RepeatConflict(indexes[position], name)
        for position, names in sorted(found.items())
        for name in names
    ]


def _sent_at(body: schemas.EventTrack | schemas.EventBatch) -> datetime | None:
    return None if body.sent_at is None else parse_moment(body.sent_at, "sent_at")


def _all_rejected(errors: dict[int, ApiError]) -> ApiError:
    first = min(errors)
    error = errors[first]
    field = f"events[{first}].{error.field}" if error.field else f"events[{first}]"
    message = f"Every event was rejected. The first error: {error.message}"
    return ApiError(Code.VALIDATION_ERROR, message, field=field, fix=error.fix)


@endpoint(
    "GET",
    scope=KeyScope.STREAM,
    secret=True,
    docs=Docs(
        reply=schemas.StreamedEvent,
        statuses={200: "The stream, open until the client disconnects."},
        query=schemas.StreamAddress,
        headers=("Last-Event-ID",),
        invalid="after must be the id of an event in this stream",
        examples=examples.STREAM,
        media="text/event-stream",
        envelope=False,
    ),
)
def event_stream(request: ApiRequest) -> HttpResponseBase:
    """Stream events as they arrive (server-sent events). Each event has a line `id:`, the cursor to
    resume after, and a line `data:`, the event as JSON, so `onmessage` fires. Comments with an id
    are sent at the start and when idle. `event: gap` carries the number of events that a slow
    reader missed. After a disconnect, send the last id as `Last-Event-ID`, as browsers do: the
    stream may then repeat events but never skips one. Sessions, purchases, refunds and their
    reversals are events too: `ilara.session`, `ilara.purchase`, `ilara.refund`,
    `ilara.refund_reversed`. Without the scope `personal`, e-mail addresses and
    personal properties are masked; a change of the key's scopes or networks ends the stream."""
    return stream.respond(request)


urlpatterns = [
    path("events/events", route(event_track)),
    path("events/events/batch", route(event_batch)),
    path("events/events/stream", route(event_stream)),
]
