"""Request and response structs of the Events API."""

import re
import uuid
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from ilara_admin.api.enums import DocumentedEnum
from ilara_admin.api.errors import Code
from ilara_admin.api.json_schema import (
    INTEGER_RANGE,
    JSON_OBJECT,
    LINE_NAME,
    NO_CONTROLS,
    NO_NUL,
    Moment,
    PlayerId,
    SentMoment,
    ref,
)

MAX_BATCH_EVENTS = 1_000
MAX_PROPERTIES = 255
RESERVED_PREFIX = "ilara."

EventName = Annotated[str, Meta(max_length=128, pattern=NO_CONTROLS)]
TrackedName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=NO_CONTROLS,
        description="With a visible character and without spaces at the ends. Names that begin "
        f"with {RESERVED_PREFIX} are reserved.",
        examples=["level_complete"],
        extra_json_schema={
            "pattern": LINE_NAME,
            "not": {"pattern": f"^{re.escape(RESERVED_PREFIX)}"},
        },
    ),
]
OpaqueId = Annotated[str, Meta(max_length=128, extra_json_schema=NO_NUL)]
Properties = Annotated[
    dict[str, Any],
    Meta(
        description=f"At most {MAX_PROPERTIES} properties and 64 KiB.",
        extra_json_schema={"maxProperties": MAX_PROPERTIES, **JSON_OBJECT},
    ),
]


SentAt = Annotated[
    SentMoment,
    Meta(
        description="The sender's clock when it sends the request. The server corrects `timestamp` "
        "by the difference to its own clock, unless the difference is a plausible transit: up to "
        "60 seconds between sending and arrival."
    ),
]


class BatchedEvent(Struct):
    player_id: PlayerId
    event_name: TrackedName
    session_id: OpaqueId | None = None
    properties: Properties | None = None
    timestamp: (
        Annotated[
            SentMoment,
            Meta(
                description="When it happened, by the sender's clock: from 1971 to 24 hours ahead. "
                "Default: when the server receives it."
            ),
        ]
        | None
    ) = None
    event_id: (
        Annotated[OpaqueId, Meta(description="Stored once within seven days. Generated if absent.")]
        | None
    ) = None


class EventTrack(BatchedEvent):
    sent_at: SentAt | None = None


class EventBatch(Struct):
    """Events are validated one by one, so an invalid one does not affect the others."""

    events: Annotated[
        list[Any],
        Meta(
            min_length=1,
            max_length=MAX_BATCH_EVENTS,
            extra_json_schema={"items": ref(BatchedEvent)},
        ),
    ]
    sent_at: SentAt | None = None


class Status(DocumentedEnum):
    ACCEPTED = "accepted", "The event is stored."
    DUPLICATE = "duplicate", "Its event_id was stored within the last seven days; not stored again."


class EventReceipt(Struct):
    event_id: str
    player_id: uuid.UUID
    event_name: str
    timestamp: Annotated[
        Moment,
        Meta(description="When it happened, corrected by `sent_at` if given."),
    ]
    received_at: Annotated[Moment, Meta(description="The server's time for this copy.")]
    status: Status


class StreamedEvent(EventReceipt):
    """The JSON of a `data:` line."""

    session_id: str | None
    # JSON text of an object.
    properties: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]


class StreamQuery(Struct):
    """The filters of the stream. If both are given, both must match."""

    event_name: (
        Annotated[EventName, Meta(description="Only events of this name.", examples=["start"])]
        | None
    ) = None
    player_id: PlayerId | None = None


class StreamAddress(StreamQuery):
    """All query parameters of the stream. The header Last-Event-ID wins over `after`."""

    after: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=INTEGER_RANGE.stop - 1,
                description="The id of the event to resume after; the header Last-Event-ID wins. "
                "Without either, the stream starts with the next event.",
            ),
        ]
        | None
    ) = None


class RejectionCode(DocumentedEnum):
    VALIDATION_ERROR = (
        Code.VALIDATION_ERROR.value,
        "The event is invalid; see the message.",
    )
    NOT_FOUND = Code.NOT_FOUND.value, "The environment has no player with this player_id."


class Rejection(Struct):
    index: Annotated[int, Meta(description="The event's position in the batch, from 0.")]
    code: RejectionCode
    message: str
    field: Annotated[str | None, Meta(description="The path within that event.")]


class RepeatConflict(Struct):
    index: Annotated[int, Meta(description="The event's position in the batch, from 0.")]
    field: Annotated[
        str, Meta(description="The field that differs from the event stored under the same id.")
    ]


class BatchReceipt(Struct):
    """`accepted`, `duplicates` and the number of `rejected` add up to the number of events sent.
    `conflicts` are about duplicates: the event stored first counts."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]
    conflicts: list[RepeatConflict]
