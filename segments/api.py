"""The Segments API."""

import uuid

from django.http import HttpResponse
from django.urls import path

from ilara_admin.api import ApiRequest, endpoint, respond, route
from ilara_admin.errors import not_found
from players.lookup import find_player
from players.record import thresholds_of
from segments import schemas
from segments.snapshot import segments_of
from segments.subject import subject_of


@endpoint("POST", body=schemas.SegmentEvaluate, basic=True)
def segment_evaluate(
    request: ApiRequest, segment_id: str, body: schemas.SegmentEvaluate
) -> HttpResponse:
    """Whether a player is in a segment right now."""
    player = find_player(request, uuid.UUID(body.player_id))
    segment = segments_of(request.snapshot).get(segment_id)
    if segment is None:
        raise not_found("Segment not found")
    subject = subject_of(player, thresholds_of(request.snapshot), request.now)
    return respond(schemas.SegmentMembership(segment_id, player.id, segment.matches(subject)))


@endpoint("GET", basic=True)
def player_segments(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """All segments that a player is in right now."""
    player = find_player(request, player_id)
    subject = subject_of(player, thresholds_of(request.snapshot), request.now)
    found = [
        schemas.SegmentSummary(segment.key, segment.name)
        for segment in segments_of(request.snapshot).values()
        if segment.matches(subject)
    ]
    return respond(schemas.PlayerSegments(player.id, found))


urlpatterns = [
    path("segments/segments/<str:segment_id>/evaluate", route(segment_evaluate)),
    path("segments/player/<str:player_id>", route(player_segments)),
]
