"""The Segments API."""

import uuid

from django.http import HttpResponse
from django.urls import path

from ilara_admin.api.dispatch import ApiRequest, respond, route
from ilara_admin.api.endpoint import Docs, endpoint
from ilara_admin.api.errors import not_found
from ilara_admin.api.hints import did_you_mean
from ilara_admin.models import KeyScope
from players.record import UNKNOWN_PLAYER
from segments import examples, schemas
from segments.cache import segments_part
from segments.subject import subject_or_404

SEGMENT_NOT_FOUND = "Segment not found in {slug}, the environment of this key."


@endpoint(
    "POST",
    scope=KeyScope.EVALUATE,
    body=schemas.SegmentEvaluate,
    basic=True,
    docs=Docs(
        reply=schemas.SegmentMembership,
        path={"segment_id": schemas.SegmentKey},
        missing=(UNKNOWN_PLAYER, SEGMENT_NOT_FOUND.format(slug="live")),
        examples=examples.EVALUATE,
    ),
)
def segment_evaluate(
    request: ApiRequest, segment_id: str, body: schemas.SegmentEvaluate
) -> HttpResponse:
    """Check whether a player is in a segment. The rule is evaluated now, with the stored player
    data. The exclude list wins over the include list, and both win over the rule."""
    segment = segments_part.of(request.snapshot).get(segment_id)
    needed = segment.event_counts if segment else ()
    player_id = uuid.UUID(body.player_id)
    subject = subject_or_404(request, player_id, needed)
    if segment is None:
        known = segments_part.of(request.snapshot)
        message = SEGMENT_NOT_FOUND.format(slug=request.snapshot.slug)
        raise not_found(message + did_you_mean(segment_id, known))
    return respond(schemas.SegmentMembership(segment_id, player_id, segment.matches(subject)))


@endpoint(
    "GET",
    scope=KeyScope.EVALUATE,
    basic=True,
    docs=Docs(reply=schemas.PlayerSegments, missing=(UNKNOWN_PLAYER,), examples=examples.OF_PLAYER),
)
def player_segments(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """List the segments a player is in. The rules are evaluated now, with the stored player
    data."""
    segments = segments_part.of(request.snapshot).values()
    needed = frozenset().union(*(segment.event_counts for segment in segments))
    subject = subject_or_404(request, player_id, needed)
    found = [
        schemas.SegmentSummary(segment.key, segment.name)
        for segment in segments
        if segment.matches(subject)
    ]
    return respond(schemas.PlayerSegments(player_id, found))


urlpatterns = [
    path("segments/segments/<str:segment_id>/evaluate", route(segment_evaluate)),
    path("segments/player/<str:player_id>", route(player_segments)),
]
