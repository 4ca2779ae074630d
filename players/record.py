"""A player as one row, and what follows from it at a moment: stage, risk, fields for rules."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from string import ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple, Protocol, TypedDict

import msgspec

from ilara_admin.core.db import Row
from players.churn_model.risk import Parameters, Risk, risk_at, score_at
from players.lifecycle import History, Lifecycle, Stage, Thresholds, lifecycle_at, stage_at
from players.models import Player


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
    """The player out of the columns of COLUMNS, whose attributes arrive as JSON text."""
    return PlayerRow._make((*row[:4], msgspec.json.decode(row[4]), *row[5:]))


COLUMNS = ", ".join(f"p.{name}" for name in PlayerRow._fields)


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
    """`activity` is the player's row of bits, which no other call has to read."""
    return risk_at(parameters, activity=activity, **_days(player, now))


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


def builtin_fields_of(
    player: PlayerRow, thresholds: Thresholds, parameters: Parameters, now: datetime
) -> dict[str, Any]:
    """The built-in fields of the rule language; an unknown device or e-mail is missing. facts.py
    says the same in SQL. The risk is computed when it is asked for: few rules do."""
    builtin_fields = _BuiltinFields(
        {
            "external_id": player.external_id,
            "device_id": player.device_id,
            "email": player.email,
            "email_domain": email_domain(player.email),
            "lifecycle_stage": str(stage_of(player, thresholds, now)),
            "is_payer": player.purchase_count > 0,
            "session_count": player.session_count,
            "active_days": player.active_days,
            "purchase_count": player.purchase_count,
            "total_revenue": player.total_revenue,
            "first_seen_at": player.first_seen_at,
            "last_seen_at": player.last_seen_at,
            "days_since_last_seen": max((now - player.last_seen_at).days, 0),
        }
    )
    builtin_fields.risk = lambda: score_at(
        parameters, active_days=player.active_days, **_days(player, now)
    )
    return builtin_fields


class _BuiltinFields(dict[str, Any]):
    risk: Callable[[], float]

    def __missing__(self, name: str) -> Any:
        if name != "risk_score":
            raise KeyError(name)
        self[name] = Decimal(str(self.risk()))
        return self[name]


def email_domain(email: str | None) -> str | None:
    """What follows the last @, its ASCII letters in lower case."""
    _, at, domain = (email or "").rpartition("@")
    return domain.translate(_LOWER) if at else None


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def mask_email(email: str | None) -> str | None:
    """`p***@example.com`: enough to recognise, too little to write to."""
    if email is None:
        return None
    name, at, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}" if at else f"{email[:1]}***"


def mask_device(device_id: str | None) -> str | None:
    """The first four characters: enough to tell two devices apart."""
    return None if device_id is None else f"{device_id[:4]}***"
