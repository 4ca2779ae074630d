"""The summary of a player for a ticket, as plain text. Imports no Django.

The caller masks personal data in Facts: other people read a ticket than the player's page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ilara_admin.core.text import isolated

# Attributes that support asks for first, by the names that games give them.
ASKED_FOR = (
    ("Country", ("country",)),
    ("Platform", ("platform", "os", "device_os")),
    ("App version", ("app_version", "version", "client_version", "game_version")),
)
MOST = 20  # segments
LONGEST = 300  # characters of a text; ids are shorter


@dataclass(frozen=True, slots=True)
class PurchaseFact:
    """Texts may be ""; `amount` includes the currency."""

    received_at: datetime
    amount: str
    product_id: str
    transaction_id: str
    is_verified: bool
    refunded_at: datetime | None


@dataclass(frozen=True, slots=True)
class FlagFact:
    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """`unverified` is the part of `revenue` that only clients reported, "" if none. `flags` are the
    first of those that differ, `more_flags` the number of the others. `at` is when the facts were
    read."""

    external_id: str
    permalink: str
    stage: str
    first_seen_at: datetime
    last_seen_at: datetime
    attributes: Mapping[str, Any]
    sessions: int
    active_days: int
    purchases: int
    revenue: str
    unverified: str
    last_purchases: Sequence[PurchaseFact]
    segments: Sequence[str]
    flags: Sequence[FlagFact]
    more_flags: int
    notes: int
    at: datetime


def summary_text(facts: Facts) -> str:
    """One fact a line; lists follow with a dash before each item. All times are in UTC."""
    unverified = f" ({facts.unverified} not verified)" if facts.unverified else ""
    lines = [
        f"Player: {_line(facts.external_id)}",
        f"Page: {facts.permalink}",
        f"Stage: {facts.stage}",
        f"First seen: {_moment(facts.first_seen_at)}",
        f"Last seen: {_moment(facts.last_seen_at)}",
        *_asked_for(facts.attributes),
        f"Sessions: {facts.sessions:,} on {_counted(facts.active_days, 'day')}",
        f"Purchases: {facts.purchases:,}, revenue {facts.revenue}{unverified}",
        *(f"- {_purchase(each)}" for each in facts.last_purchases),
        f"Segments: {_some([_line(each) for each in facts.segments]) or 'none'}",
        f"Flags that differ from the default:{'' if facts.flags else ' none'}",
        *(f"- {_line(each.key)} = {_line(each.value)}: {_line(each.why)}" for each in facts.flags),
        *([f"- and {facts.more_flags:,} more"] if facts.more_flags else []),
        f"Notes: {facts.notes:,}",
        f"As of {_moment(facts.at)}",
    ]
    return "\n".join(lines)


def _asked_for(attributes: Mapping[str, Any]) -> list[str]:
    lines = []
    for label, names in ASKED_FOR:
        value = next((attributes[name] for name in names if name in attributes), None)
        if isinstance(value, str | int | float):
            lines.append(f"{label}: {_line(str(value))}")
    return lines


def _purchase(fact: PurchaseFact) -> str:
    parts = [_moment(fact.received_at), fact.amount, fact.product_id, fact.transaction_id]
    parts.append("verified" if fact.is_verified else "not verified")
    if fact.refunded_at:
        parts.append(f"refunded {_moment(fact.refunded_at)}")
    return ", ".join(_line(part) for part in parts if part)


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST
    return ", ".join([*names[:MOST], *([f"and {more} more"] if more > 0 else [])])


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _line(text: str) -> str:
    """A text on one line, isolated, so that it changes neither its neighbours nor the lines."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return isolated(" ".join(short.split()))
