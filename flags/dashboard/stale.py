"""Hints that a flag is no longer needed."""

from datetime import datetime, timedelta
from typing import cast

from flags.models import Flag

STALE_DAYS = 30


def hints(flag: Flag, now: datetime) -> list[str]:
    """Sentences. Requires a flag `with_last_evaluated`. A permanent flag that games evaluate is
    never stale, however old its last change."""
    if flag.archived_at:
        return []
    found = []
    if flag.expected_end and flag.expected_end < now.date():
        end = f"{flag.expected_end.day} {flag.expected_end:%b %Y}"
        found.append(f"It was expected to end on {end}.")
    last = cast("datetime | None", getattr(flag, "last_evaluated_at", None))
    if now - (last or flag.created_at) > timedelta(days=STALE_DAYS):
        found.append(f"No game has evaluated it for {STALE_DAYS} days.")
    steady = now - flag.updated_at > timedelta(days=STALE_DAYS)
    if flag.expected_end and steady and not flag.problem and not flag.spec.rules:
        found.append("It has no rules, so everyone gets the same.")
    return found
