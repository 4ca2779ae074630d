"""The Events API."""

from datetime import datetime

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from events import ingest, schemas, stream
from events.rejections import rejected
from ilara_admin.api import ApiRequest, count, endpoint, respond, route
from ilara_admin.errors import ApiError, Code
from ilara_admin.idempotency import idempotency_key
from ilara_admin.limits import EVENTS
from ilara_admin.payload import check_moment, decode_body, read_object


@endpoint("POST", body=schemas.EventTrack, basic=True, decodes_itself=True)
def event_track(request: ApiRequest) -> HttpResponse:
    """Store one event. The same event id again answers `duplicate` and stores nothing."""
    try:
        body, request.ignored = decode_body(request, schemas.EventTrack)
        event = ingest.prepare(body, _sent_at(body), idempotency_key(request))
    except ApiError as error:
        if (data := read_object(request)) is not None:
            ingest.store(request, [], [rejected(data, error)])
        raise
    count(request, EVENTS)
    outcome = ingest.store(request, [event], sent_at=body.sent_at)
    if not outcome.known:
        raise ingest.unknown_player()
    status = schemas.Status.ACCEPTED if outcome.accepted else schemas.Status.DUPLICATE
    receipt = schemas.EventReceipt(
        event_id=event.event_id,
        player_id=event.player_id,
        event_name=event.name,
        timestamp=ingest.occurred_at(event, outcome.received_at, body.sent_at),
        received_at=outcome.received_at,
        status=status,
    )
    return respond(receipt, status=201)


@endpoint("POST", body=schemas.EventBatch, basic=True, checks_itself=("events",))
def event_batch(request: ApiRequest, body: schemas.EventBatch) -> HttpResponse:
    """Store up to 1,000 events. Each has its own verdict; a bad one harms no other."""
    sent_at = _sent_at(body)
    errors: dict[int, ApiError] = {}
    prepared: dict[int, ingest.Prepared] = {}
    for index, item in enumerate(body.events):
        try:
            prepared[index] = ingest.prepare(ingest.read_event(item), sent_at)
        except ApiError as error:
            errors[index] = error
    if prepared:
        count(request, EVENTS, len(prepared))
    noted = [rejected(body.events[index], error) for index, error in errors.items()]
    outcome = ingest.store(request, list(prepared.values()), noted, sent_at)
    for position, index in enumerate(prepared):
        if position not in outcome.known:
            errors[index] = ingest.unknown_player()
    if len(errors) == len(body.events):
        raise _all_rejected(errors)
    accepted = len(outcome.accepted)
    told = [
        schemas.Rejection(index, error.code, error.message, error.field)
        for index, error in sorted(errors.items())
    ]
    return respond(schemas.BatchReceipt(accepted, len(outcome.known) - accepted, told))


def _sent_at(body: schemas.EventTrack | schemas.EventBatch) -> datetime | None:
    if body.sent_at is not None:
        check_moment(body.sent_at, "sent_at")
    return body.sent_at


def _all_rejected(errors: dict[int, ApiError]) -> ApiError:
    first = min(errors)
    error = errors[first]
    field = f"events[{first}].{error.field}" if error.field else f"events[{first}]"
    message = f"Every event was rejected; the first because: {error.message}"
    return ApiError(Code.VALIDATION_ERROR, message, field=field)


@endpoint("GET", secret=True)
def event_stream(request: ApiRequest) -> HttpResponseBase:
    """Events as they arrive, as server-sent events."""
    return stream.respond(request)


urlpatterns = [
    path("events/events", route(event_track)),
    path("events/events/batch", route(event_batch)),
    path("events/events/stream", route(event_stream)),
]
