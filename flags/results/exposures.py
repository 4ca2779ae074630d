"""Exposures: the first time that a player is evaluated into an arm of a running experiment.

Requests note them in memory; a thread writes them every FLUSH_SECONDS. A killed process loses those
of its last seconds, and what it knew: such a player is noted again at the next evaluation, with the
time of that one.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import DatabaseError, InterfaceError, connection

from flags.cache import FlagSet
from flags.engine.arms import MeasuredRule, ServedArm, arm_of
from flags.engine.evaluation import CompiledFlag, Decision, EvaluationContext
from ilara_admin.core import background
from segments.language.parser import NOT_IN_TEXT

logger = logging.getLogger("ilara.flags")

FLUSH_SECONDS = 5
MAX_PENDING = 50_000
# What was noted lately is not noted again. It is forgotten at times, as a player who was erased may
# register again.
MAX_KNOWN = 100_000
KNOWN_SECONDS = 600
MAX_TEXT = 32


class _Note(NamedTuple):
    player_id: str
    experiment_id: int
    phase: int
    variant: str
    at: datetime
    overridden: bool
    stage: str
    payer: bool
    country: str
    platform: str


_known: set[tuple[int, int, str, ServedArm]] = set()
_known_since = time.monotonic()
_pending: list[_Note] = []
_lock = threading.Lock()


def note(
    flags: FlagSet, flag: CompiledFlag, decision: Decision, context: EvaluationContext
) -> list[str]:
    """Note the player's arm in each experiment that measures the flag. Returns the keys of the
    experiments whose results may count the player: without those where an override decided."""
    keys = []
    for measured in flags.measured.get(flag.id, ()):
        arm = arm_of(flag, measured, decision, context)
        if arm is None:
            continue
        if not arm.overridden:
            keys.append(measured.key)
        known = (measured.experiment_id, measured.phase, context.player_id, arm)
        if known not in _known:
            _note(known, _note_of(measured, arm, context))
    return keys


def note_all(
    flags: FlagSet, decided: Iterable[tuple[CompiledFlag, Decision]], context: EvaluationContext
) -> dict[str, list[str]]:
    """`note` for several flags. Returns the keys of the experiments by flag key."""
    return {
        flag.key: note(flags, flag, decision, context)
        for flag, decision in decided
        if flag.id in flags.measured
    }


def forget() -> None:
    """Drop all notes, and what is known."""
    with _lock:
        _known.clear()
        _pending.clear()


def _note(known: tuple[int, int, str, ServedArm], found: _Note) -> None:
    global _known_since
    with _lock:
        now = time.monotonic()
        if len(_known) >= MAX_KNOWN or now - _known_since >= KNOWN_SECONDS:
            _known.clear()
            _known_since = now
        # Else it is noted at a later evaluation, like one that a killed process lost.
        if known not in _known and len(_pending) < MAX_PENDING:
            _known.add(known)
            _pending.append(found)
    start_thread()


def _note_of(measured: MeasuredRule, arm: ServedArm, context: EvaluationContext) -> _Note:
    subject = context.subject
    return _Note(
        context.player_id,
        measured.experiment_id,
        measured.phase,
        arm.variant,
        context.at,
        arm.overridden,
        subject.builtin_fields["lifecycle_stage"],
        subject.builtin_fields["is_payer"],
        _text(subject.attributes.get("country")),
        _text(subject.attributes.get("platform")),
    )


def _text(value: Any) -> str:
    """A value for a breakdown; "" if it is not a short text that the database can store."""
    fits = isinstance(value, str) and len(value) <= MAX_TEXT and not NOT_IN_TEXT.search(value)
    return value if fits else ""


# --- Writing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Exposed:
    """What the notes of a player in a phase add up to: the first, and the next other variant."""

    first: _Note
    overridden: bool
    second: _Note | None = None


def _exposed(notes: Sequence[_Note]) -> list[_Exposed]:
    found: dict[tuple[str, int, int], _Exposed] = {}
    for each in sorted(notes, key=lambda note: note.at):
        exposed = found.setdefault(each[:3], _Exposed(each, each.overridden))
        exposed.overridden = exposed.overridden or each.overridden
        if exposed.second is None and each.variant != exposed.first.variant:
            exposed.second = each
    return list(found.values())


# Players who were erased are skipped, and experiments that ended, began a new phase or were deleted
# since. The lock keeps players from being erased before the rows are visible to erasure. All
# processes lock rows in the same order, which prevents deadlocks.
WRITE = """
WITH noted AS MATERIALIZED (
    SELECT n.* FROM unnest(
        %s::uuid[], %s::bigint[], %s::smallint[], %s::text[], %s::timestamptz[], %s::bool[],
        %s::text[], %s::timestamptz[], %s::text[], %s::bool[], %s::text[], %s::text[]
    ) AS n (player_id, experiment_id, phase, variant, exposed_at, overridden,
            second_variant, second_at, stage, payer, country, platform)
    JOIN experiment e ON e.id = n.experiment_id AND e.state = 'running' AND e.phase = n.phase
    JOIN player p ON p.id = n.player_id AND p.environment_id = e.environment_id
    LEFT JOIN exposure x ON x.player_id = n.player_id AND x.experiment_id = n.experiment_id
        AND x.phase = n.phase
    WHERE x.player_id IS NULL OR (n.overridden AND NOT x.overridden)
        OR (x.second_variant IS NULL
            AND (n.variant <> x.variant OR n.second_variant <> x.variant))
    ORDER BY n.player_id, n.experiment_id, n.phase
    FOR KEY SHARE OF p
)
INSERT INTO exposure AS x (player_id, experiment_id, phase, variant, exposed_at, overridden,
    second_variant, second_at, stage, payer, country, platform)
SELECT * FROM noted
ON CONFLICT (player_id, experiment_id, phase) DO UPDATE SET
    overridden = x.overridden OR excluded.overridden,
    second_variant = coalesce(x.second_variant,
        CASE WHEN excluded.variant <> x.variant THEN excluded.variant
             WHEN excluded.second_variant <> x.variant THEN excluded.second_variant END),
    second_at = coalesce(x.second_at,
        CASE WHEN excluded.variant <> x.variant THEN excluded.exposed_at
             WHEN excluded.second_variant <> x.variant THEN excluded.second_at END)"""


def flush() -> None:
    """Write the notes. If that fails, they are kept for the next flush."""
    with _lock:
        notes = _pending.copy()
        _pending.clear()
    if not notes:
        return
    rows = [
        (
            *exposed.first[:5],
            exposed.overridden,
            exposed.second and exposed.second.variant,
            exposed.second and exposed.second.at,
            *exposed.first[6:],
        )
        for exposed in _exposed(notes)
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [list(column) for column in zip(*rows, strict=True)])
    except (DatabaseError, InterfaceError):
        with _lock:
            _pending[:0] = notes
        raise


def flush_quietly() -> None:
    try:
        flush()
    except (DatabaseError, InterfaceError):
        logger.warning("could not write exposures; will retry")


start_thread = background.run_every(FLUSH_SECONDS, "exposures", flush_quietly)
