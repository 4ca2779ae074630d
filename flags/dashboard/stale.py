"""Evidence that a flag is no longer needed."""

from datetime import datetime, timedelta
from typing import cast

from flags.models import STALE_DAYS, Flag


def hints(flag: Flag, now: datetime) -> list[str]:
    """Sentences; none unless the flag is stale. Requires a flag `with_evidence`."""
    if flag.archived_at or flag.archives_at:
        return []
    last = cast("datetime | None", flag.last_evaluated_at)  # type: ignore[attr-defined]
    only = cast("str | None", flag.only_variant)  # type: ignore[attr-defined]
    found = []
    if flag.expected_end and flag.expected_end < now.date():
        end = f"{flag.expected_end.day} {flag.expected_end:%b %Y}"
        found.append(f"It was expected to end on {end}.")
    if now - (last or flag.created_at) > timedelta(days=STALE_DAYS):
        found.append(f"No game has evaluated it for {STALE_DAYS} days.")
    if only is not None:
        found.append(f"Everyone has got {only} for {STALE_DAYS} days, and it did not change.")
    return found
