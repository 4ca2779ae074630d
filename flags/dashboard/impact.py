"""The players who would get another variant or value if a draft were saved, of the flag itself and
of the flags that depend on it.

Players are evaluated in the order of their ids, starting at an id derived from the flag and
wrapping around. Ids are uniformly distributed, so the players evaluated so far are a random sample;
it is the same one each time.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import product
from math import sqrt
from time import monotonic
from typing import NamedTuple

from flags.dashboard.impact_rows import EvaluatedPlayer, Ranges, players_for
from flags.engine import sentences
from flags.engine.dependents import Dependent, dependents_of, never_holds, with_draft
from flags.engine.document import ValueType, Variant
from flags.engine.evaluation import CompiledFlag, Decision, decide
from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.core.json_equality import identical
from players.labels import STAGES
from players.lifecycle import Stage
from segments import sizes

SAMPLE_SIZE = 2_500
SECONDS = 1.0  # the limit for evaluating everyone at once; a job evaluates more players
SHOWN = 20
ALL_IDS = 1 << 128
Z = 1.96  # 95 % confidence


@dataclass(slots=True)
class Tally:
    """Of `players`, those who switch: from an untargeted to a targeted variant (gains), back
    (loses), or otherwise (swaps). See _untargeted."""

    players: int = 0
    gains: int = 0
    loses: int = 0
    swaps: int = 0

    @property
    def switches(self) -> int:
        return self.gains + self.loses + self.swaps


class SwitchExample(NamedTuple):
    id: uuid.UUID
    external_id: str
    before: str
    after: str


@dataclass(slots=True)
class DependentImpact:
    """A flag that depends on the changed one: `before` and `after` the change, and how many of the
    evaluated players switch there."""

    dependent: Dependent
    before: CompiledFlag
    after: CompiledFlag
    switches: int = 0

    @property
    def is_affected(self) -> bool:
        """Whether players switch there, or none can get anything but its off value any more."""
        return self.switches > 0 or self.loses_all

    @property
    def loses_all(self) -> bool:
        after = self.after
        return after.is_on and never_holds(after, after.others) and not self._lost_before

    @property
    def _lost_before(self) -> bool:
        return never_holds(self.before, self.before.others)

    def text(self, impact: "Impact") -> str:
        """What the flag requires, and what happens to the players there."""
        requires = requirement(self.dependent)
        if not self.after.is_on:
            return f"{requires} It is off, so nothing changes for its players now."
        if self.loses_all:
            off = sentences.value_text(self.after.off.variant.value)
            requires += f" It will serve {off} to everyone."
        return f"{requires} {impact.sentence(self.switches, 'there')}"


def requirement(dependent: Dependent) -> str:
    """`Only if new-shop serves enabled.`, or `Through offers: only if offers serves on.`"""
    needed = f"nly if {sentences.needs(dependent.item)}."
    return f"Through {', '.join(dependent.path)}: o{needed}" if dependent.path else f"O{needed}"


@dataclass(slots=True)
class Impact:
    """`exact` if all players were evaluated, else they are a sample of `total`. `switches` counts
    the switching players by variant before and after."""

    exact: bool = False
    total: int = 0
    dependents: list[DependentImpact] = field(default_factory=list)
    all: Tally = field(default_factory=Tally)
    by_stage: dict[Stage, Tally] = field(
        default_factory=lambda: {stage: Tally() for stage in Stage}
    )
    by_payer: dict[bool, Tally] = field(default_factory=lambda: {True: Tally(), False: Tally()})
    switches: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[SwitchExample] = field(default_factory=list)

    @property
    def switched(self) -> list[tuple[str, str, int]]:
        """Variant before, variant after and number of players, largest first."""
        return [(*variants, count) for variants, count in self.switches.most_common()]

    @property
    def groups(self) -> list[tuple[str, Tally]]:
        """The tallies with any players, by label."""
        found = [(STAGES[stage].label, tally) for stage, tally in self.by_stage.items()]
        found += [("Payers", self.by_payer[True]), ("Not payers", self.by_payer[False])]
        return [(label, tally) for label, tally in found if tally.players]

    @property
    def headline(self) -> str:
        return self.sentence(self.all.switches)

    def sentence(self, switches: int, where: str = "") -> str:
        """How many players switch, in words; `where` ends the sentence."""
        end = f" {where}." if where else "."
        if not switches:
            return f"0 players switch{end}"
        if self.exact:
            verb = "switches" if switches == 1 else "switch"
            return f"{switches:,} of {self.total:,} players {verb}{end}"
        part = switches / self.all.players
        some = min(_rounded(part * self.total), self.total)
        share = f"About {100 * part:.1f} % of players switch"
        return f"{share}{end[:-1]}, some {some:,} of {self.total:,}."

    @property
    def basis(self) -> str:
        """How many players the headline is based on."""
        if self.exact:
            return "All players were evaluated." if self.total else ""
        low, high = self.interval
        if not self.all.switches:
            found = f"at most {high:.2f} % switch"
        else:
            found = f"it is {low:.1f} to {high:.1f} %"
        return f"{self.all.players:,} were evaluated; with 95 % confidence {found}."

    @property
    def share(self) -> float:
        """The share of players who switch, in percent."""
        return 100 * self.all.switches / self.all.players if self.all.players else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the share in percent, by Wilson, valid for 0 too."""
        if self.exact or not self.all.players:
            return self.share, self.share
        n, part = self.all.players, self.share / 100
        middle = part + Z * Z / (2 * n)
        half = Z * sqrt(part * (1 - part) / n + Z * Z / (4 * n * n))
        whole = 1 + Z * Z / n
        return max(100 * (middle - half) / whole, 0.0), min(100 * (middle + half) / whole, 100.0)


def _rounded(number: float) -> int:
    """Rounded to two digits, the precision of the estimate."""
    whole = round(number)
    return round(whole, min(2 - len(str(whole)), 0))


def impact(
    snapshot: Snapshot,
    live: CompiledFlag,
    draft: CompiledFlag,
    now: datetime,
    *,
    everyone: bool = False,
) -> Impact:
    """Evaluate both flags and those that depend on them, for a sample or, within SECONDS, for
    everyone."""
    if live.document == draft.document and live.archived == draft.archived and not everyone:
        return Impact(exact=True)
    found = empty_impact(live, draft)
    start, until = sample_start(snapshot, live), monotonic() + SECONDS
    for _ in evaluated(found, snapshot, live, draft, now, from_start(start)):
        if found.all.players >= SAMPLE_SIZE and (not everyone or monotonic() > until):
            break
    else:
        found.exact = True
    found.total = found.all.players
    if not found.exact:
        found.total = max(found.total, sizes.total_lately(snapshot.environment_id))
    return found


def empty_impact(live: CompiledFlag, draft: CompiledFlag) -> Impact:
    """An impact without players, with the flags that depend on the changed one."""
    flags = live.others
    after_flags = with_draft(draft, flags)
    return Impact(
        dependents=[
            DependentImpact(dependent, dependent.flag, after_flags[dependent.flag.key])
            for dependent in dependents_of(live.key, flags)
        ]
    )


def evaluated(
    found: Impact,
    snapshot: Snapshot,
    live: CompiledFlag,
    draft: CompiledFlag,
    now: datetime,
    ranges: Ranges,
) -> Iterator[None]:
    """Evaluate the players in these ranges of ids (after, to), and yield after each is counted in
    `found`."""
    on = [each for each in found.dependents if each.after.is_on]
    flags = [live, draft, *(flag for each in on for flag in (each.before, each.after))]
    players, (old_flag, new_flag, *pairs) = players_for(snapshot, flags, now, ranges)
    dependents = list(zip(on, pairs[::2], pairs[1::2], strict=True))
    category_of = _categories(live, draft)
    for player in players:
        # A flag is evaluated once for all flags that need it.
        old: dict[str, Decision] = {}
        new: dict[str, Decision] = {}
        context = player.context
        before, after = decide(old_flag, context, old), decide(new_flag, context, new)
        _count(found, player, category_of[before.variant.key, after.variant.key], before, after)
        for each, earlier, later in dependents:
            was, will_be = decide(earlier, context, old), decide(later, context, new)
            each.switches += _differ(was.variant, will_be.variant)
        yield


def sample_start(snapshot: Snapshot, flag: CompiledFlag) -> uuid.UUID:
    digest = sha256(f"{snapshot.environment_id}:{flag.key}".encode()).digest()
    return uuid.UUID(bytes=digest[:16])


def _count(
    found: Impact,
    player: EvaluatedPlayer,
    category: str,
    before: Decision,
    after: Decision,
) -> None:
    stage, payer = found.by_stage[Stage(player.stage)], found.by_payer[player.is_payer]
    for tally in (found.all, stage, payer):
        tally.players += 1
        if category:
            setattr(tally, category, getattr(tally, category) + 1)
    if category:
        variants = before.variant.key, after.variant.key
        found.switches[variants] += 1
        if len(found.examples) < SHOWN:
            found.examples.append(SwitchExample(player.id, player.external_id, *variants))


def _categories(live: CompiledFlag, draft: CompiledFlag) -> dict[tuple[str, str], str]:
    """`gains`, `loses`, `swaps`, or "" if variant and value are the same, by variant before and
    after."""
    found = {}
    for old, new in product(live.variants.values(), draft.variants.values()):
        had, has = old.key not in _untargeted(live), new.key not in _untargeted(draft)
        category = "swaps" if had == has else "gains" if has else "loses"
        found[old.key, new.key] = category if _differ(old, new) else ""
    return found


def _differ(old: Variant, new: Variant) -> bool:
    return old.key != new.key or not identical(old.value, new.value)


def _untargeted(flag: CompiledFlag) -> set[str]:
    if flag.document.value_type is ValueType.BOOLEAN:
        return {"disabled"}
    return {flag.document.default, flag.document.off}


# --- Players --------------------------------------------------------------------------------------


def from_start(start: uuid.UUID) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """All ids from `start` on, wrapping around."""
    return [(start, uuid.UUID(int=ALL_IDS - 1)), (uuid.UUID(int=0), start)]
