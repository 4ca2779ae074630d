"""What a player of the sample game is made of. No Django."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Session:
    session_id: str
    started_at: datetime
    ended_at: datetime

    @property
    def duration_seconds(self) -> int:
        return round((self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Sale:
    transaction_id: str
    product_id: str
    amount: Decimal
    verified: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Tracked:
    event_id: str
    name: str
    session_id: str | None
    properties: dict[str, Any]
    at: datetime


@dataclass(slots=True)
class Seen:
    """The columns that being seen updates, by the definitions of players/statements.py."""

    first_seen_at: datetime
    last_seen_at: datetime
    last_active_on: date
    active_since: datetime
    active_days: int = 1
    activity: str = "1"
    returned_at: datetime | None = None
    gap_before_return: timedelta | None = None

    @classmethod
    def at(cls, moment: datetime) -> "Seen":
        return cls(moment, moment, moment.date(), moment)

    def again(self, moment: datetime, at_risk: timedelta, churned: timedelta) -> None:
        """The player is active at `moment`, which is not before the last one."""
        gap = moment - self.last_seen_at
        if days := (moment.date() - self.last_active_on).days:
            self.active_days += 1
            self.activity += "0" * (days - 1) + "1"
        if gap >= at_risk:
            self.active_since = moment
        if gap >= churned:
            self.returned_at, self.gap_before_return = moment, gap
        self.last_seen_at, self.last_active_on = moment, moment.date()


@dataclass(slots=True)
class SamplePlayer:
    """Everything about one player; `events` holds those of the last EVENT_DAYS days only."""

    external_id: str
    device_id: str
    email: str | None
    attributes: dict[str, Any]
    sessions: list[Session] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)
    events: list[Tracked] = field(default_factory=list)

    @property
    def revenue(self) -> Decimal:
        return sum((sale.amount for sale in self.sales), Decimal(0))

    def seen(self, at_risk: timedelta, churned: timedelta) -> Seen:
        """A session is two moments: its first event, and the report that closes it."""
        seen = Seen.at(self.sessions[0].started_at)
        for session in self.sessions:
            seen.again(session.started_at, at_risk, churned)
            seen.again(session.ended_at, at_risk, churned)
        return seen
