"""The players who would get another variant or value if a draft were saved: now, once the flag is
turned on, and at later dates of its schedule; of the flag and of the flags that depend on it.

Later dates count the players as they are now. Only percentages and overrides follow the clock.

Up to EVERYONE players all are evaluated. Of more, a sample is: the players whose ids follow an id
derived from the flag, wrapping around. Ids are uniformly distributed, so that is a random sample;
it is the same one each time.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from itertools import product
from time import monotonic
from typing import NamedTuple

import msgspec

from flags.cache import compile_draft
from flags.dashboard.impact_figures import (
    DateCount,
    DependentImpact,
    Impact,
    ImpactDate,
    SwitchExample,
)
from flags.dashboard.impact_rows import Ranges, players_for
from flags.engine.cohorts import SHOWN, Cohort, ComparedAt, Comparison, Served, Side
from flags.engine.dependents import dependents_of, with_draft
from flags.engine.document import ValueType, Variant
from flags.engine.evaluation import CompiledFlag
from flags.engine.moments import moments_of
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core.json_equality import identical
from players.lifecycle import Stage
from segments import sizes

EVERYONE = 20_000
SAMPLE_SIZE = 2_500
SECONDS = 1.0  # the limit for evaluating more than EVERYONE at once; a job evaluates the others
ALL_IDS = 1 << 128


def impact(
    snapshot: Snapshot,
    live: CompiledFlag,
    draft: CompiledFlag,
    now: datetime,
    *,
    everyone: bool = False,
) -> Impact:
    """Evaluate both flags and those that depend on them, for all players or a sample. With
    `everyone` the sample grows for SECONDS."""
    if live.document == draft.document and live.archived == draft.archived and not everyone:
        return Impact(exact=True)
    plan = planned(snapshot, live, draft, now)
    found, known = plan.found, sizes.total_lately(snapshot.environment_id)
    enough = SAMPLE_SIZE if known > EVERYONE else EVERYONE + 1
    until = monotonic() + SECONDS if everyone else 0.0
    ranges = from_start(sample_start(snapshot, live))
    found.exact = evaluate(plan, snapshot, ranges, enough, until)
    found.total = found.all.players
    if not found.exact:
        total = known if known > EVERYONE else sizes.total(snapshot.environment_id)
        found.total = max(found.total, total)
    return found


def takes_a_sample(environment_id: int) -> bool:
    return sizes.total_lately(environment_id) > EVERYONE


class ImpactPlan(NamedTuple):
    """What is to be evaluated. `found` has no players yet; `sides` has, for each of its dates, the
    time and the flags before and after the change: the changed one, then `dependents`, those of
    the flags that depend on it that are on."""

    now: datetime
    found: Impact
    dependents: list[DependentImpact]
    sides: list[tuple[datetime, list[CompiledFlag], list[CompiledFlag]]]
    categories: Mapping[tuple[str, str], str]


def planned(
    snapshot: Snapshot, live: CompiledFlag, draft: CompiledFlag, now: datetime
) -> ImpactPlan:
    after_flags = with_draft(draft, live.others)
    dependents = [
        DependentImpact(each, each.flag, after_flags[each.flag.key])
        for each in dependents_of(live.key, live.others)
    ]
    on = [each for each in dependents if each.after.is_on]
    before = [live, *(each.before for each in on)]
    after = [draft, *(each.after for each in on)]
    found = Impact(dates=[ImpactDate(None, "Now")], dependents=dependents)
    sides = [(now, before, after)]
    if not (live.is_on or draft.is_on or draft.archived):
        keys = [each.after.key for each in on]
        before, after = (_turned_on(snapshot, each, keys) for each in (live, draft))
        found.dates.append(ImpactDate(None, "Once it is turned on"))
        sides.append((now, before, after))
    if after[0].is_on:
        moments, found.left_out = moments_of(after[0], now)
        found.dates += [ImpactDate(*each) for each in moments]
        sides += [(each.at, before, after) for each in moments]
    found.counts = [DateCount() for _ in sides]
    for each in on:
        each.counts = [DateCount() for _ in sides]
    return ImpactPlan(now, found, on, sides, _categories(live, draft))


def _turned_on(snapshot: Snapshot, flag: CompiledFlag, keys: list[str]) -> list[CompiledFlag]:
    """The flag turned on, and as they are then the flags with these keys. An archived flag stays
    archived."""
    on = compile_draft(
        snapshot, flag, msgspec.structs.replace(flag.document, enabled=True), flag.archived
    )
    flags = with_draft(on, flag.others)
    return [on, *(flags[key] for key in keys)]


def evaluate(
    plan: ImpactPlan,
    snapshot: Snapshot,
    ranges: Ranges,
    enough: int | None = None,
    until: float = 0.0,
) -> bool:
    """Count the players in these ranges of ids (after, to) in `plan.found`; returns whether these
    are all. Else they are `enough`, or more if there was time for more `until` then."""
    flags = [flag for _, *sides in plan.sides for side in sides for flag in side]
    chunks, reading = players_for(snapshot, flags, plan.now, ranges)
    by_column = dict(zip(map(id, flags), reading, strict=True))
    sides: dict[tuple[int, ...], Side] = {}
    compared = []
    for at, *pair in plan.sides:
        ready = []
        for side in pair:
            key = tuple(map(id, side))
            if key not in sides:
                sides[key] = Side([by_column[id(flag)] for flag in side])
            ready.append(sides[key])
        compared.append(ComparedAt(at, *ready))
    comparison, players, complete = Comparison(compared), 0, True
    for chunk in chunks:
        if enough is not None and players + len(chunk) >= enough and monotonic() >= until:
            complete = False
            if players < enough:
                chunk = chunk[: enough - players]
        comparison.add(chunk)
        players += len(chunk)
        if not complete:
            break
    for cohort, served in comparison.results():
        _count(plan, cohort, served)
    return complete


def _count(plan: ImpactPlan, cohort: Cohort, served: list[tuple[Served, Served]]) -> None:
    """Add the players of a cohort, who are served this at each date before and after the change."""
    found, players, first = plan.found, cohort.players, cohort.first
    (before, *_), (after, *_) = served[0]
    variants = before.key, after.key
    category = plan.categories[variants]
    for tally in (found.all, found.by_stage[Stage(first.stage)], found.by_payer[first.is_payer]):
        tally.players += players
        if category:
            setattr(tally, category, getattr(tally, category) + players)
    if category:
        found.switches[variants] += players
        for player_id, external_id in cohort.examples[: SHOWN - len(found.examples)]:
            found.examples.append(SwitchExample(player_id, external_id, *variants))
    counted = [found.counts, *(each.counts for each in plan.dependents)]
    for place, counts in enumerate(counted):
        earlier = served[0][0][place]
        for count, (old_side, new_side) in zip(counts, served, strict=True):
            old, new = old_side[place], new_side[place]
            count.switches += players * differ(earlier, new)
            count.differ += players * differ(old, new)
            count.served[new.key] += players
            earlier = new


def _categories(live: CompiledFlag, draft: CompiledFlag) -> dict[tuple[str, str], str]:
    """`gains`, `loses`, `swaps`, or "" if variant and value are the same, by variant before and
    after."""
    found = {}
    for old, new in product(live.variants.values(), draft.variants.values()):
        had, has = old.key not in _untargeted(live), new.key not in _untargeted(draft)
        category = "swaps" if had == has else "gains" if has else "loses"
        found[old.key, new.key] = category if differ(old, new) else ""
    return found


def differ(old: Variant, new: Variant) -> bool:
    """Whether a player who is served one after the other notices."""
    return old.key != new.key or not identical(old.value, new.value)


def _untargeted(flag: CompiledFlag) -> set[str]:
    if flag.document.value_type is ValueType.BOOLEAN:
        return {"disabled"}
    return {flag.document.default, flag.document.off}


# --- Players --------------------------------------------------------------------------------------


def sample_start(snapshot: Snapshot, flag: CompiledFlag) -> uuid.UUID:
    digest = sha256(f"{snapshot.environment_id}:{flag.key}".encode()).digest()
    return uuid.UUID(bytes=digest[:16])


def from_start(start: uuid.UUID) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """All ids from `start` on, wrapping around."""
    return [(start, uuid.UUID(int=ALL_IDS - 1)), (uuid.UUID(int=0), start)]
