"""Request and reply bodies of the Players API."""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from ilara_admin.api.json_schema import (
    END,
    JSON_OBJECT,
    NAME,
    NO_CONTROLS,
    NO_NUL,
    UUID,
    Moment,
    SentMoment,
)
from players.churn_model.risk import FactorName, RiskLevel
from players.lifecycle import Stage
from players.models import MAX_ATTRIBUTE_KEYS
from players.money import AMOUNT_PATTERN, BELOW, FORM

MAX_PAGE = 200
DEFAULT_PAGE = 50

ExternalId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="The game's id of the player. Compared byte by byte: composed and "
        "decomposed é are different ids.",
        examples=["player_123"],
        extra_json_schema={"pattern": NAME},
    ),
]
DeviceId = Annotated[str, Meta(max_length=255, extra_json_schema=NO_NUL)]
Email = Annotated[str, Meta(max_length=254, pattern=NO_CONTROLS)]
OpaqueId = Annotated[str, Meta(max_length=128, extra_json_schema=NO_NUL)]
Attributes = Annotated[
    dict[str, Any],
    Meta(
        description="Merged into the stored attributes at the top level; null removes one. "
        f"At most {MAX_ATTRIBUTE_KEYS} attributes and 64 KiB per player.",
        extra_json_schema={"maxProperties": MAX_ATTRIBUTE_KEYS, **JSON_OBJECT},
    ),
]


class PlayerRegister(Struct):
    """Absent fields and empty text do not change; null clears device_id or email."""

    external_id: ExternalId
    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: Attributes | UnsetType | None = UNSET


PATCHED = frozenset({"device_id", "email", "attributes"})


class PlayerPatch(Struct):
    """One field is required. Absent fields and empty text do not change; null clears device_id or
    email."""

    json_schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": [name]} for name in sorted(PATCHED)]
    }

    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: Attributes | UnsetType | None = UNSET


class SessionRecord(Struct):
    """All fields are optional; the body may be empty."""

    session_id: Annotated[OpaqueId, Meta(description="Each id counts once.")] | None = None
    started_at: (
        Annotated[
            SentMoment,
            Meta(description="Between 1970 and 2099. Defaults to the time of the request."),
        ]
        | None
    ) = None
    # float, as 60.0 is an integer in JSON Schema.
    duration_seconds: Annotated[float, Meta(ge=0, le=31_536_000, multiple_of=1)] | None = None


# Read with all its digits, since a float is not exact.
AMOUNT = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": BELOW},
        {"type": "string", "pattern": AMOUNT_PATTERN},
        {"type": "null"},
    ]
}
AMOUNT_TEXT = (
    f"Required in the body or the query; if in both, equal. A number or a string, {FORM}, with at "
    "most the decimal places of its currency; 4.990 is 4.99."
)


class PurchaseRecord(Struct):
    """The amount is required, in the body or the query."""

    amount: Annotated[Any, Meta(description=AMOUNT_TEXT, extra_json_schema=AMOUNT)] = None
    currency: (
        Annotated[
            str,
            Meta(
                pattern="^[A-Za-z]{3}" + END,
                description="Defaults to the environment's currency. Purchases in another are "
                "stored, but do not count as revenue.",
                examples=["EUR"],
            ),
        ]
        | None
    ) = None
    transaction_id: (
        Annotated[OpaqueId, Meta(description="Each id counts once per environment.")] | None
    ) = None
    product_id: OpaqueId | None = None


class PurchaseQuery(Struct):
    amount: (
        Annotated[str, Meta(pattern=AMOUNT_PATTERN, description=AMOUNT_TEXT, examples=["4.99"])]
        | None
    ) = None


class PlayerListQuery(Struct):
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="Players per page.")] = DEFAULT_PAGE
    cursor: (
        Annotated[
            str,
            Meta(
                pattern=f"^({UUID})?{END}",
                description="The next_cursor of the previous page; empty for the first page.",
            ),
        ]
        | None
    ) = None


AliasId = Annotated[ExternalId, Meta(examples=["account_456"])]


class AliasLink(Struct):
    external_id: AliasId


class PlayerDetails(Struct):
    id: Annotated[uuid.UUID, Meta(description="The player_id in other calls.")]
    external_id: str
    device_id: Annotated[
        str | None,
        Meta(
            description="Masked for secret keys without the scope `personal`, unless this request "
            "sent it."
        ),
    ]
    email: Annotated[
        str | None,
        Meta(
            description="Masked for public keys and for secret keys without the scope `personal`, "
            "p***@example.com, unless this request sent it."
        ),
    ]
    lifecycle_stage: Stage
    session_count: int
    total_revenue: Annotated[
        Decimal,
        Meta(description="Purchases without refunds, in the environment's currency."),
    ]
    is_payer: bool
    first_seen_at: Moment
    last_seen_at: Annotated[
        Moment, Meta(description="Events update it at most once a minute; reads do not.")
    ]
    attributes: Mapping[str, Any]


class PlayerPage(Struct):
    players: list[PlayerDetails]
    next_cursor: Annotated[str | None, Meta(description="Null on the last page.")]


class StageChange(Struct):
    stage: Stage
    at: Moment


class PlayerLifecycle(Struct):
    player_id: uuid.UUID
    lifecycle_stage: Stage
    stage_since: Moment
    first_seen_at: Moment
    last_seen_at: Moment
    days_since_last_seen: int
    session_count: int
    next: Annotated[
        StageChange | None,
        Meta(description="The next stage unless the player is seen; null if churned."),
    ]


class RiskFactor(Struct):
    factor: FactorName
    description: str
    contribution: Annotated[
        float, Meta(description="Its part of the risk score; negative if it lowers the score.")
    ]


class ChurnRisk(Struct):
    """The dashboard shows a backtest of the model."""

    player_id: uuid.UUID
    risk_score: Annotated[
        float,
        Meta(
            description="The probability that the player is not seen in the next 14 days: from 0 "
            "to 1, the sum of the contributions."
        ),
    ]
    risk_level: RiskLevel
    factors: list[RiskFactor]
    prediction_date: Moment
    confidence: Annotated[float, Meta(description="The probability of the likelier outcome.")]
    model: Annotated[
        str,
        Meta(
            description="The model, MBG/NBD, and the last day of the data it was fitted to, or "
            "`prior` while there are too few players to fit."
        ),
    ]


class PlayerAliases(Struct):
    """`external_id` is the player's original one; `aliases` are the others, oldest first."""

    player_id: uuid.UUID
    external_id: str
    aliases: list[str]
