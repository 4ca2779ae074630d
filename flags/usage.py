"""How often each flag gave each variant: counted in memory, written once a minute by a thread.

Requests never wait for it. What was counted since the last write is lost when a process is killed.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Sum

from flags.cache import FlagSet
from flags.engine.evaluation import CompiledFlag, Decision
from flags.models import Flag, FlagUsage
from ilara_admin.core import background

logger = logging.getLogger("ilara.flags")

FLUSH_SECONDS = 60
KEPT_DAYS = 90

_single: Counter[tuple[int, str]] = Counter()
# All constant flags of an environment go out together: one count stands for each of them.
_together: Counter[FlagSet] = Counter()
_lock = threading.Lock()


def note(flag: CompiledFlag, decision: Decision) -> None:
    """One flag was evaluated for a game."""
    with _lock:
        _single[flag.id, decision.variant.key] += 1
    start_thread()


def note_all(flags: FlagSet, asked: Iterable[tuple[CompiledFlag, Decision]]) -> None:
    """All flags in use were evaluated. `asked` are those that took a decision of their own."""
    with _lock:
        _together[flags] += 1
        for flag, decision in asked:
            _single[flag.id, decision.variant.key] += 1
            if flag.constant is not None:  # an override stood in for what everybody gets
                _single[flag.id, flag.constant.variant.key] -= 1
    start_thread()


def forget() -> None:
    """Drop everything, as a process that has just started."""
    _single.clear()
    _together.clear()


# Flags that were deleted meanwhile are passed over. The order of rows is the same for everybody,
# so that two processes do not wait for each other.
WRITE = """
INSERT INTO flag_usage (flag_id, hour, variant, count, last_at)
SELECT f.id, date_trunc('hour', now(), 'UTC'), u.variant, u.count, now()
FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) u (flag_id, variant, count)
JOIN flag f ON f.id = u.flag_id
ORDER BY f.id, u.variant
ON CONFLICT (flag_id, hour, variant)
DO UPDATE SET count = flag_usage.count + excluded.count, last_at = excluded.last_at"""


def flush() -> None:
    """Write what was counted. It is kept for the next time if it cannot be written."""
    with _lock:
        single, together = _single.copy(), _together.copy()
        _single.clear()
        _together.clear()
    counts = single.copy()
    for flags, times in together.items():
        for flag, _ in flags.constant:
            if flag.constant is not None:
                counts[flag.id, flag.constant.variant.key] += times
    rows = [(*key, count) for key, count in counts.items() if count > 0]
    if not rows:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])
    except (DatabaseError, InterfaceError):
        with _lock:
            _single.update(single)
            _together.update(together)
        raise


def flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("the use of flags could not be written yet")


start_thread = background.run_every(FLUSH_SECONDS, "flag-usage", flush_quietly)


# --- Reads ----------------------------------------------------------------------------------------


class Use(NamedTuple):
    variant: str
    times: int


def use_of(flag: Flag, since: datetime) -> list[Use]:
    """How often each variant was given since then, most first."""
    rows = FlagUsage.objects.filter(flag=flag, hour__gte=since).values("variant")
    found = rows.annotate(total=Sum("count")).order_by("-total", "variant")
    return [Use(row["variant"], row["total"]) for row in found]


def usage_forget(now: datetime) -> int:
    """Delete what is older than KEPT_DAYS; returns how many rows."""
    deleted, _ = FlagUsage.objects.filter(hour__lt=now - timedelta(days=KEPT_DAYS)).delete()
    return deleted
