"""What the Events API takes and gives."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from ilara_admin.payload import NO_CONTROLS, PlayerId

MAX_BATCH_EVENTS = 1_000

EventName = Annotated[str, Meta(min_length=1, max_length=128, pattern=NO_CONTROLS)]
OpaqueId = Annotated[str, Meta(min_length=1, max_length=128)]
Moment = Annotated[datetime, Meta(tz=True)]


class BatchedEvent(Struct):
    player_id: PlayerId
    event_name: EventName
    session_id: OpaqueId | None = None
    properties: dict[str, Any] | None = None
    timestamp: Moment | None = None
    event_id: OpaqueId | None = None


class EventTrack(BatchedEvent):
    """`sent_at` is what the sender's clock shows while it sends: what that clock is wrong by is
    then taken off `timestamp`."""

    sent_at: Moment | None = None


class EventBatch(Struct):
    """Each item is a BatchedEvent. They are read one by one, so that a bad one harms no other."""

    events: Annotated[list[Any], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]
    sent_at: Moment | None = None


class Status(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"


class EventReceipt(Struct):
    """`timestamp` is when it happened by the sender's clock, put right where `sent_at` told how;
    `received_at` is the server's time for this copy."""

    event_id: str
    player_id: uuid.UUID
    event_name: str
    timestamp: datetime
    received_at: datetime
    status: Status


class StreamedEvent(EventReceipt):
    """An event in the stream. `properties` is the JSON text of an object."""

    session_id: str | None
    properties: Raw


class StreamQuery(Struct):
    """The filters of the stream. Both must match."""

    event_name: EventName | None = None
    player_id: PlayerId | None = None


class Rejection(Struct):
    """`index` counts from 0 in the batch; `field` is relative to that event."""

    index: int
    code: str
    message: str
    field: str | None


class BatchReceipt(Struct):
    """accepted + duplicates + the number of rejected is the number of events sent."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]
