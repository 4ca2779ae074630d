"""What the Players API takes and gives."""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from ilara_admin.json_schema import END, JSON_OBJECT, NO_CONTROLS, NO_NUL, UUID, Moment
from players.churn import FactorName, RiskLevel
from players.lifecycle import Stage
from players.models import MAX_ATTRIBUTE_KEYS
from players.money import AMOUNT_PATTERN, FORM

MAX_PAGE = 200
DEFAULT_PAGE = 50

ExternalId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="The game's own id of the player, compared byte by byte.",
        examples=["player_123"],
        extra_json_schema=NO_NUL,
    ),
]
DeviceId = Annotated[str, Meta(max_length=255, extra_json_schema=NO_NUL)]
Email = Annotated[str, Meta(max_length=254, pattern=NO_CONTROLS)]
OpaqueId = Annotated[str, Meta(min_length=1, max_length=128, extra_json_schema=NO_NUL)]
Attributes = Annotated[
    dict[str, Any],
    Meta(
        description="Merged into what is stored, at the top level; a null attribute is removed. "
        f"{MAX_ATTRIBUTE_KEYS} attributes a player at most, which take 64 KiB at most.",
        extra_json_schema={"maxProperties": MAX_ATTRIBUTE_KEYS, **JSON_OBJECT},
    ),
]


class PlayerRegister(Struct):
    """Absent fields stay as they are; null clears device_id or email."""

    external_id: ExternalId
    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: Attributes | UnsetType = UNSET


class PlayerPatch(Struct):
    """At least one of the three. Absent fields stay as they are; null clears device_id or email."""

    json_schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": [name]} for name in ("device_id", "email", "attributes")]
    }

    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: Attributes | UnsetType = UNSET


class SessionRecord(Struct):
    """One session_id counts once. `started_at` lies between 1970 and 2099."""

    session_id: OpaqueId | None = None
    started_at: Moment | None = None
    # Whole, also where a client writes 60.0, which is an integer by JSON Schema.
    duration_seconds: Annotated[float, Meta(ge=0, le=31_536_000, multiple_of=1)] | None = None


# It stays as it was written: a float would lose the cents.
AMOUNT = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 999_999_999.99},
        {"type": "string", "pattern": AMOUNT_PATTERN},
        {"type": "null"},
    ]
}
AMOUNT_TEXT = f"Here or in the address, or the same in both: {FORM}. A number or a text."


class PurchaseRecord(Struct):
    """One transaction_id counts once. An amount in another currency than the environment's is kept
    and not counted."""

    amount: Annotated[Any, Meta(description=AMOUNT_TEXT, extra_json_schema=AMOUNT)] = None
    currency: Annotated[str, Meta(pattern="^[A-Za-z]{3}" + END, examples=["EUR"])] | None = None
    transaction_id: OpaqueId | None = None
    product_id: OpaqueId | None = None


class PurchaseQuery(Struct):
    amount: (
        Annotated[str, Meta(pattern=AMOUNT_PATTERN, description=AMOUNT_TEXT, examples=["4.99"])]
        | None
    ) = None


class PlayerListQuery(Struct):
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many a page holds.")] = (
        DEFAULT_PAGE
    )
    cursor: (
        Annotated[
            str,
            Meta(
                pattern=f"^({UUID})?{END}",
                description="The next_cursor of the page before; empty for the first page.",
            ),
        ]
        | None
    ) = None


class Player(Struct):
    """With a public key the e-mail address is masked unless this very request sent it."""

    id: uuid.UUID
    external_id: str
    device_id: str | None
    email: str | None
    lifecycle_stage: Stage
    session_count: int
    total_revenue: Decimal
    is_payer: bool
    first_seen_at: Moment
    last_seen_at: Moment
    attributes: Mapping[str, Any]


class PlayerPage(Struct):
    """`next_cursor` is null on the last page."""

    players: list[Player]
    next_cursor: str | None


class StageChange(Struct):
    stage: Stage
    at: Moment


class PlayerLifecycle(Struct):
    """`next` is what comes if the player is not seen again; null after the last stage."""

    player_id: uuid.UUID
    lifecycle_stage: Stage
    stage_since: Moment
    first_seen_at: Moment
    last_seen_at: Moment
    days_since_last_seen: int
    session_count: int
    next: StageChange | None


class RiskFactor(Struct):
    """`contribution` is what the factor adds to the risk; negative where it lowers it."""

    factor: FactorName
    description: str
    contribution: float


class ChurnRisk(Struct):
    """`risk_score` is from 0 to 1, the sum of what the factors contribute. `confidence` is the
    probability of the likelier outcome. `model` ends in the last day that it was fitted to, or in
    `prior` while too few players have a history. The dashboard shows how well it foretold who was
    not seen."""

    player_id: uuid.UUID
    risk_score: float
    risk_level: RiskLevel
    factors: list[RiskFactor]
    prediction_date: Moment
    confidence: float
    model: str
