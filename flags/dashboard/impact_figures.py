"""The figures of the impact of a draft, and their words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from flags.engine import sentences
from flags.engine.dependents import Dependent, never_holds
from flags.engine.evaluation import CompiledFlag
from ilara_admin.core import confidence
from players.labels import STAGES
from players.lifecycle import Stage

SHOWN_VARIANTS = 3


@dataclass(slots=True)
class Tally:
    """Of `players`, those who switch: from an untargeted to a targeted variant (gains), back
    (loses), or otherwise (swaps)."""

    players: int = 0
    gains: int = 0
    loses: int = 0
    swaps: int = 0

    @property
    def switches(self) -> int:
        return self.gains + self.loses + self.swaps


class SwitchExample(NamedTuple):
    id: str
    external_id: str
    before: str
    after: str


class ImpactDate(NamedTuple):
    """`at` is None for now; `text` says what happens then."""

    at: datetime | None
    text: str


@dataclass(slots=True)
class DateCount:
    """Of one flag at one date: how many players have another variant or value than at the date
    before (`switches`), and than they would have without the change (`differ`), and how many are
    served each variant."""

    switches: int = 0
    differ: int = 0
    served: Counter[str] = field(default_factory=Counter)

    @property
    def served_text(self) -> str:
        """`enabled 25 %, disabled 75 %`, the largest first."""
        total = self.served.total()
        shares = [
            f"{variant} {_percent(100 * count / total)}"
            for variant, count in sorted(self.served.items(), key=lambda each: (-each[1], each[0]))
        ]
        if more := len(shares) - SHOWN_VARIANTS - 1:
            shares = [*shares[:SHOWN_VARIANTS], f"{more + 1} others"] if more > 0 else shares
        return ", ".join(shares)


def _percent(share: float) -> str:
    """With one digit, and never 0 or 100 for a few or nearly all."""
    if 0 < share < 0.1:
        return "under 0.1 %"
    if 99.9 < share < 100:
        return "over 99.9 %"
    return f"{share:.1f} %".replace(".0 %", " %")


@dataclass(slots=True)
class DependentImpact:
    """A flag that depends on the changed one: `before` and `after` the change, and its counts by
    date, if it is on."""

    dependent: Dependent
    before: CompiledFlag
    after: CompiledFlag
    counts: list[DateCount] = field(default_factory=list)

    @property
    def switches(self) -> int:
        """How many of the evaluated players switch there now."""
        return self.counts[0].switches if self.counts else 0

    @property
    def is_affected(self) -> bool:
        """Whether players switch there, now or later, or none can get anything but its off value
        any more."""
        return any(each.differ for each in self.counts) or self.loses_all

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


class Estimated(NamedTuple):
    """A number of players, and the ends of its 95 % confidence interval; all the same if exact."""

    about: int
    low: int
    high: int


class ImpactLine(NamedTuple):
    """A line of the table. `numbers` are the switches, and with later dates who differ; see
    DateCount."""

    date: ImpactDate
    numbers: list[Estimated]
    served: str


@dataclass(slots=True)
class Impact:
    """`exact` if all players were evaluated, else they are a sample of `total`.

    `all`, the tallies by stage and payer, `switches` (by variant before and after) and `examples`
    are about those who switch now. `counts` are by date; `left_out` dates are not among them.
    """

    exact: bool = False
    total: int = 0
    dates: list[ImpactDate] = field(default_factory=list)
    left_out: int = 0
    counts: list[DateCount] = field(default_factory=list)
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
        end = f" {where}" if where else ""
        if not self.exact:
            about, low, high = self.estimate(switches)
            between = f"between {low:,} and {high:,}" if low else f"at most {high:,}"
            return f"About {about:,} of {self.total:,} players switch{end}, {between}."
        if not switches:
            return f"0 players switch{end}."
        verb = "switches" if switches == 1 else "switch"
        return f"{switches:,} of {self.total:,} players {verb}{end}."

    @property
    def basis(self) -> str:
        """How many players the headline is based on."""
        if self.exact:
            return "All players were evaluated." if self.total else ""
        return (
            f"Estimated from {self.all.players:,} players: "
            "such a range holds the true number 95 times in 100."
        )

    def estimate(self, found: int) -> Estimated:
        """How many players there are, if `found` of the evaluated ones are."""
        if self.exact or not self.all.players:
            return Estimated(found, found, found)
        return Estimated(*confidence.estimate(found, self.all.players, self.total))

    @property
    def has_later_dates(self) -> bool:
        return len(self.dates) > 1

    @property
    def assumes_on(self) -> bool:
        """Whether the later dates assume that the flag is turned on."""
        return len(self.dates) > 2 and self.dates[1].at is None

    @property
    def table(self) -> list[tuple[DependentImpact | None, list[ImpactLine]]]:
        """The lines of the changed flag, with None, and with later dates those of the flags in
        which they change something."""
        others = [each for each in self.dependents if each.counts and each.is_affected]
        return [
            (None, self._lines(self.counts)),
            *((each, self._lines(each.counts)) for each in others if self.has_later_dates),
        ]

    def _lines(self, counts: Sequence[DateCount]) -> list[ImpactLine]:
        return [
            ImpactLine(
                date,
                [
                    self.estimate(each.switches),
                    *([self.estimate(each.differ)] if self.has_later_dates else []),
                ],
                each.served_text,
            )
            for date, each in zip(self.dates, counts, strict=True)
        ]
