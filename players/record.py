"""A player row and the values computed from it: stage, risk and built-in fields."""

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple, Protocol, TypedDict

import msgspec

from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core.db import Row
from players.cache import churn_part
from players.churn_model.risk import (
    Calibration,
    Parameters,
    Risk,
    RiskLevel,
    RiskReasons,
    calibration,
    reasons_at,
    risk_at,
    score_at,
)
from players.lifecycle import History, Lifecycle, Stage, Thresholds, lifecycle_at, stage_at
from players.models import ChurnFit, Player


class PlayerRow(NamedTuple):
    """The columns of COLUMNS, in their order."""

    id: uuid.UUID
    external_id: str
    device_id: str | None
    email: str | None
    attributes: Mapping[str, Any]
    session_count: int
    active_days: int
    purchase_count: int
    total_revenue: Decimal
    first_seen_at: datetime
    last_seen_at: datetime
    last_active_on: date
    active_since: datetime
    returned_at: datetime | None
    gap_before_return: timedelta | None


def row_of(player: Player) -> PlayerRow:
    return PlayerRow._make(getattr(player, name) for name in PlayerRow._fields)


def player_of(row: Row) -> PlayerRow:
    """The player in a row of COLUMNS, where the attributes are JSON text."""
    return PlayerRow._make((*row[:4], msgspec.json.decode(row[4]), *row[5:]))


COLUMNS = ", ".join(f"p.{name}" for name in PlayerRow._fields)
NOT_FOUND = "Player not found"
UNKNOWN_PLAYER = (
    f"{NOT_FOUND}. Register it first, with POST /v1/players/players; the id in the reply is the "
    "player_id."
)
# Built-in fields that are columns.
COLUMN_FIELDS = {
    "external_id", "device_id", "email", "session_count", "active_days", "purchase_count",
    "total_revenue", "first_seen_at", "last_seen_at",
}  # fmt: skip


class HasThresholds(Protocol):
    """A snapshot or an environment."""

    @property
    def new_days(self) -> int: ...
    @property
    def at_risk_days(self) -> int: ...
    @property
    def churned_days(self) -> int: ...


def thresholds_of(source: HasThresholds) -> Thresholds:
    return Thresholds(source.new_days, source.at_risk_days, source.churned_days)


def _history(player: PlayerRow) -> History:
    return History(
        player.first_seen_at, player.last_seen_at, player.active_since, player.returned_at
    )


def stage_of(player: PlayerRow, thresholds: Thresholds, now: datetime) -> Stage:
    return stage_at(_history(player), thresholds, now)


def lifecycle_of(player: PlayerRow, thresholds: Thresholds, now: datetime) -> Lifecycle:
    return lifecycle_at(_history(player), thresholds, now)


def risk_of(player: PlayerRow, activity: str, parameters: Parameters, now: datetime) -> Risk:
    """`activity` is the column of that name, which PlayerRow leaves out."""
    return risk_at(parameters, activity=activity, **_days(player, now))


def reasons_of(
    player: PlayerRow, activity: str, parameters: Parameters, now: datetime
) -> RiskReasons:
    return reasons_at(parameters, activity=activity, **_days(player, now))


def level_in_backtest(environment_id: int, level: RiskLevel) -> tuple[Calibration, int] | None:
    """What the newest backtest says of players at a risk level, and how many days it covers. None
    without a fit, and with one that tested another score."""
    fit = ChurnFit.objects.filter(environment=environment_id).only("bins", "days", "before").first()
    return (calibration(fit.bins, level), fit.days) if fit and fit.before else None


class _Days(TypedDict):
    first_on: date
    last_on: date
    today: date


def _days(player: PlayerRow, now: datetime) -> _Days:
    return {
        "first_on": player.first_seen_at.astimezone(UTC).date(),
        "last_on": player.last_active_on,
        "today": now.astimezone(UTC).date(),
    }


class BuiltinFields(dict[str, Any]):
    """The built-in fields of the rule language, each computed on first access, as few rules use the
    stage or the risk. builtin_fields.py has the same in SQL."""

    def __init__(self, player: PlayerRow, snapshot: Snapshot, now: datetime) -> None:
        self.player = player
        self.snapshot = snapshot
        self.now = now

    def __missing__(self, name: str) -> Any:
        """Raises KeyError if `name` is not a built-in field."""
        player, now = self.player, self.now
        match name:
            case "lifecycle_stage":
                value: Any = str(stage_of(player, thresholds_of(self.snapshot), now))
            case "risk_score":
                parameters = churn_part.of(self.snapshot)
                days = _days(player, now)
                score = score_at(parameters, active_days=player.active_days, **days)
                value = Decimal(str(score))
            case "email_domain":
                value = email_domain(player.email)
            case "is_payer":
                value = player.purchase_count > 0
            case "days_since_last_seen":
                value = max((now - player.last_seen_at).days, 0)
            case _ if name in COLUMN_FIELDS:
                value = getattr(player, name)
            case _:
                raise KeyError(name)
        self[name] = value
        return value


def email_domain(email: str | None) -> str | None:
    """The part after the last @, with ASCII letters in lower case."""
    _, at, domain = (email or "").rpartition("@")
    return domain.translate(_LOWER) if at else None


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
