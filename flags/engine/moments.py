"""The times at which schedules change which players a flag serves. Imports no Django."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from flags.engine.document import Rule
from flags.engine.evaluation import CompiledFlag
from flags.engine.schedule import rollout_at
from ilara_admin.core.percentages import percent

PARTS_OF_RAMP = 4
MAX_MOMENTS = 12


class ScheduledMoment(NamedTuple):
    """`text` says what is in force from then on: `Rule 1 at 25 %`."""

    at: datetime
    text: str


def moments_of(flag: CompiledFlag, now: datetime) -> tuple[list[ScheduledMoment], int]:
    """The next moments at which schedules of a flag, or of a flag that it needs, change the
    percentage of a rule, in their order; of a ramp its start, its end and the quarters between.
    Of more than MAX_MOMENTS, those in the middle are left out; also returns how many."""
    found: dict[datetime, list[str]] = {}
    for each in reachable([flag]).values():
        if not each.is_on:
            continue
        of = "" if each is flag else f"{each.key}: "
        for number, rule in enumerate(each.document.rules, start=1):
            for at in _times(rule):
                if at > now:
                    text = f"{of}Rule {number} at {percent(rollout_at(rule, at))}"
                    found.setdefault(at, []).append(text)
    every = [ScheduledMoment(at, "; ".join(found[at])) for at in sorted(found)]
    if (left_out := len(every) - MAX_MOMENTS) > 0:
        return [*every[: MAX_MOMENTS - 1], every[-1]], left_out
    return every, 0


def _times(rule: Rule) -> Iterator[datetime]:
    """When the percentage in force changes; of a ramp, some of the times."""
    times = [step.at for step in rule.steps]
    if ramp := rule.ramp:
        part = (ramp.end - ramp.start) / PARTS_OF_RAMP
        times += [ramp.start, *(ramp.start + n * part for n in range(1, PARTS_OF_RAMP)), ramp.end]
    for at in {*times, rule.start, rule.end}:
        if at is None:
            continue
        inside = (not rule.start or at > rule.start) and (not rule.end or at < rule.end)
        if inside or at in (rule.start, rule.end):
            yield at


def reachable(flags: Iterable[CompiledFlag]) -> dict[int, CompiledFlag]:
    """The flags and, also indirectly, their prerequisites, by id(): a flag may exist in several
    versions."""
    found: dict[int, CompiledFlag] = {}
    pending = list(flags)
    while pending:
        flag = pending.pop()
        if id(flag) not in found:
            found[id(flag)] = flag
            pending += needed(flag).values()
    return found


def needed(flag: CompiledFlag) -> Mapping[str, CompiledFlag]:
    """The prerequisites of a flag that exist, by key."""
    keys = (item.flag for item in flag.document.prerequisites)
    return {key: flag.others[key] for key in keys if key in flag.others}
