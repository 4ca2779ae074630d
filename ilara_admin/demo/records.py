"""What a player of the sample game is made of. No Django."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple


class Session(NamedTuple):
    session_id: str
    started_at: datetime
    ended_at: datetime

    @property
    def duration_seconds(self) -> int:
        return round((self.ended_at - self.started_at).total_seconds())


class Sale(NamedTuple):
    transaction_id: str
    product_id: str
    amount: Decimal
    verified: bool
    at: datetime
    refunded_at: datetime | None


class Tracked(NamedTuple):
    event_id: str
    name: str
    session_id: str
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
    def counted(self) -> list[Decimal]:
        """The amounts that were paid and not refunded."""
        return [sale.amount for sale in self.sales if not sale.refunded_at]

    def seen(self, at_risk: timedelta, churned: timedelta) -> Seen:
        """A session is two moments: its first event, and the report that closes it."""
        first = self.sessions[0].started_at
        seen = Seen(first, first, first.date(), first)
        for session in self.sessions:
            seen.again(session.started_at, at_risk, churned)
            seen.again(session.ended_at, at_risk, churned)
        return seen
