"""Request and response structs of the Segments API."""

import uuid
from typing import Annotated

from msgspec import Meta, Struct

from ilara_admin.api.json_schema import PlayerId
from segments.keys import KEY_PATTERN

SegmentKey = Annotated[
    str, Meta(pattern=KEY_PATTERN, description="The key of a segment.", examples=["beta-testers"])
]


class SegmentEvaluate(Struct):
    player_id: PlayerId


class SegmentMembership(Struct):
    segment_id: str
    player_id: uuid.UUID
    is_member: bool


class SegmentSummary(Struct):
    id: str
    name: str


class PlayerSegments(Struct):
    player_id: uuid.UUID
    segments: list[SegmentSummary]
