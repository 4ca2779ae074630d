"""Groups of players who get equal results from some flags at each of some times.

A flag looks at a player's buckets only to compare them with percentages and slices. So players are
alike if their buckets lie between the same bounds, the same rules match them and they have the same
overrides: one of them is evaluated for all. This makes a further time cost as much as there are
groups, not players. Imports no Django.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from flags.engine.bucketing import GATE_SEED, GROUP_SEED, SPLIT_SEED, bucket
from flags.engine.document import EVERYBODY, Variant
from flags.engine.evaluation import (
    CompiledFlag,
    CompiledRule,
    Decision,
    EvaluationContext,
    decide,
    takes_everyone,
)
from flags.engine.moments import reachable
from flags.engine.schedule import ceiling
from segments.language.compiler import Subject

SHOWN = 20  # examples

type Overrides = tuple[tuple[int, str, datetime | None], ...]  # flag id, variant, until
type Served = list[Variant]  # by each flag of a side


class PlayerFacts(NamedTuple):
    """What the flags see of a player; `matches` holds whether each of their conditions does."""

    id: str
    external_id: str
    stage: str
    is_payer: bool
    matches: Sequence[bool]
    overrides: Overrides


class Bounds(NamedTuple):
    """The bounds between the buckets of one seed that a flag distinguishes."""

    salt: str
    seed: int
    bounds: Sequence[int]


@dataclass(slots=True)
class Cohort:
    """Players who are alike, also in stage and payer. `first` stands for all; `signature` is that
    of the players who differ in stage and payer only."""

    first: PlayerFacts
    signature: tuple[Any, ...]
    players: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # id and external id


class Side:
    """The flags to evaluate: as they are before a change, or after it."""

    def __init__(self, flags: Sequence[CompiledFlag]) -> None:
        self.flags = flags
        self._scheduled = [
            rule for flag in reachable(flags).values() for rule in flag.rules if rule.scheduled
        ]

    def state_at(self, at: datetime) -> tuple[int, ...]:
        """Equal for times at which a player without overrides is served the same."""
        return id(self), *(rule.share_at(at) for rule in self._scheduled)

    def served(self, player: PlayerFacts, overrides: Mapping[int, str], at: datetime) -> Served:
        subject = cast(Subject, player.matches)
        context = EvaluationContext(player.id, subject, overrides, at)
        memo: dict[str, Decision] = {}  # each is evaluated once for all flags that need it
        return [decide(flag, context, memo).variant for flag in self.flags]


class ComparedAt(NamedTuple):
    """A time at which two sides are compared."""

    at: datetime
    before: Side
    after: Side


class Comparison:
    """Flags at some times, before and after a change. Their conditions read PlayerFacts.matches."""

    def __init__(self, compared: Sequence[ComparedAt]) -> None:
        self._moments = [
            (at, [(side, side.state_at(at)) for side in sides]) for at, *sides in compared
        ]
        self._bounds = bounds_of(compared)
        self.cohorts: dict[tuple[Any, ...], Cohort] = {}

    def add(self, players: Iterable[PlayerFacts]) -> None:
        """Add the players to their cohorts."""
        cohorts, cuts = self.cohorts, self._bounds
        for player in players:
            player_id, external_id, stage, is_payer, matches, overrides = player
            signature = (
                matches,
                overrides,
                *[bisect_right(each, bucket(salt, player_id, seed)) for salt, seed, each in cuts],
            )
            key = stage, is_payer, signature
            cohort = cohorts.get(key)
            if cohort is None:
                cohort = cohorts[key] = Cohort(player, signature)
            cohort.players += 1
            if len(cohort.examples) < SHOWN:
                cohort.examples.append((player_id, external_id))

    def results(self) -> Iterator[tuple[Cohort, list[tuple[Served, Served]]]]:
        """The cohorts, and what the flags serve each of their players, before and after the change,
        at each of the times."""
        known: dict[Any, list[tuple[Served, Served]]] = {}
        for cohort in self.cohorts.values():
            if cohort.signature not in known:
                known[cohort.signature] = list(self._served(cohort.first))
            yield cohort, known[cohort.signature]

    def _served(self, player: PlayerFacts) -> Iterator[tuple[Served, Served]]:
        known: dict[Any, Served] = {}
        for at, sides in self._moments:
            overrides = {
                flag_id: variant
                for flag_id, variant, until in player.overrides
                if until is None or until > at
            }
            pair = []
            for side, state in sides:
                key = state, *overrides
                if key not in known:
                    known[key] = side.served(player, overrides, at)
                pair.append(known[key])
            yield pair[0], pair[1]


def bounds_of(compared: Iterable[ComparedAt]) -> list[Bounds]:
    """The bounds between buckets that make a difference at any of the times."""
    found: dict[tuple[str, int], set[int]] = {}
    for at, *sides in compared:
        for flag in reachable(each for side in sides for each in side.flags).values():
            for compiled in flag.rules if flag.is_on else ():
                found.setdefault((flag.salt, GATE_SEED), set()).add(compiled.share_at(at))
                starts = (part.start for part in compiled.rule.split or ())
                found.setdefault((flag.salt, SPLIT_SEED), set()).update(starts)
                if group := compiled.rule.group:
                    found.setdefault((group.salt, GROUP_SEED), set()).update(
                        (group.start, group.end)
                    )
    return [
        Bounds(*of, sorted(bounds))
        for of, each in found.items()
        if (bounds := each - {0, EVERYBODY})
    ]


def deciding_rules(flag: CompiledFlag) -> tuple[CompiledRule, ...]:
    """The rules that may ever decide: not those at 0 %, nor those after one that takes everyone."""
    found: list[CompiledRule] = []
    for each in flag.rules if flag.is_on else ():
        if ceiling(each.rule) > 0:
            found.append(each)
            if takes_everyone(each) and not each.scheduled and each.rule.rollout == EVERYBODY:
                break
    return tuple(found)
