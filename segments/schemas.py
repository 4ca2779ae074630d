"""What the Segments API takes and gives."""

import uuid

from msgspec import Struct

from ilara_admin.payload import PlayerId


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
