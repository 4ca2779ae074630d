"""The Segments API."""

import uuid

from django.http import HttpResponse
from django.urls import path

from ilara_admin.api import ApiRequest, endpoint, respond, route
from ilara_admin.errors import not_found
from segments import schemas
from segments.lookup import find_subject
from segments.snapshot import segments_of


@endpoint("POST", body=schemas.SegmentEvaluate, basic=True)
def segment_evaluate(
    request: ApiRequest, segment_id: str, body: schemas.SegmentEvaluate
) -> HttpResponse:
    """Whether a player is in a segment right now."""
    segment = segments_of(request.snapshot).get(segment_id)
    needed = segment.behaviours if segment else ()
    player, subject, _ = find_subject(request, uuid.UUID(body.player_id), needed)
    if segment is None:
        raise not_found("Segment not found")
    return respond(schemas.SegmentMembership(segment_id, player.id, segment.matches(subject)))


@endpoint("GET", basic=True)
def player_segments(request: ApiRequest, player_id: uuid.UUID) -> HttpResponse:
    """All segments that a player is in right now."""
    segments = segments_of(request.snapshot).values()
    needed = frozenset().union(*(segment.behaviours for segment in segments))
    player, subject, _ = find_subject(request, player_id, needed)
    found = [
        schemas.SegmentSummary(segment.key, segment.name)
        for segment in segments
        if segment.matches(subject)
    ]
    return respond(schemas.PlayerSegments(player.id, found))


urlpatterns = [
    path("segments/segments/<str:segment_id>/evaluate", route(segment_evaluate)),
    path("segments/player/<str:player_id>", route(player_segments)),
]
