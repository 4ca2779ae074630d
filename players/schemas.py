"""What the Players API takes and gives."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ilara_admin.payload import END, NO_CONTROLS
from players.churn import RiskLevel
from players.lifecycle import Stage

ExternalId = Annotated[str, Meta(min_length=1, max_length=255)]
DeviceId = Annotated[str, Meta(max_length=255)]
Email = Annotated[str, Meta(max_length=254, pattern=NO_CONTROLS)]
OpaqueId = Annotated[str, Meta(min_length=1, max_length=128)]


class PlayerRegister(Struct):
    external_id: ExternalId
    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


class PlayerPatch(Struct):
    device_id: DeviceId | UnsetType | None = UNSET
    email: Email | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET


class SessionRecord(Struct):
    session_id: OpaqueId | None = None
    started_at: Annotated[datetime, Meta(tz=True)] | None = None
    duration_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None


class PurchaseRecord(Struct):
    """`amount` stays as it was written: a float would lose the cents."""

    amount: Annotated[Any, Meta(extra_json_schema={"type": "number"})] = None
    currency: Annotated[str, Meta(pattern="^[A-Za-z]{3}" + END)] | None = None
    transaction_id: OpaqueId | None = None
    product_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class AliasLink(Struct):
    external_id: ExternalId


class Player(Struct):
    id: uuid.UUID
    external_id: str
    device_id: str | None
    email: str | None
    lifecycle_stage: Stage
    session_count: int
    total_revenue: Decimal
    is_payer: bool
    first_seen_at: datetime
    last_seen_at: datetime
    attributes: Mapping[str, Any]


class PlayerPage(Struct):
    players: list[Player]
    next_cursor: str | None


class StageChange(Struct):
    stage: Stage
    at: datetime


class PlayerLifecycle(Struct):
    player_id: uuid.UUID
    lifecycle_stage: Stage
    stage_since: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    days_since_last_seen: int
    session_count: int
    next: StageChange | None


class RiskFactor(Struct):
    factor: str
    description: str
    contribution: float


class ChurnRisk(Struct):
    player_id: uuid.UUID
    risk_score: float
    risk_level: RiskLevel
    factors: list[RiskFactor]
    prediction_date: datetime
    confidence: float
    model: str


class PlayerAliases(Struct):
    """`external_id` is the player's own; `aliases` are the others, the oldest first."""

    player_id: uuid.UUID
    external_id: str
    aliases: list[str]
