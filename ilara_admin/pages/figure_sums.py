"""Figures of several days: sums, shares, what a period had before. Imports no Django."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from typing import NamedTuple, Protocol


class Period(NamedTuple):
    """UTC days, both included."""

    start: date
    end: date

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(days=number) for number in range(self.length)]

    @property
    def length(self) -> int:
        return (self.end - self.start).days + 1

    @property
    def before(self) -> "Period":
        """The period of the same length that ends the day before."""
        return Period(self.start - timedelta(days=self.length), self.start - timedelta(days=1))

    def __str__(self) -> str:
        first = f"{self.start.day} {self.start:%b}"
        if self.start.year != self.end.year:
            first += f" {self.start.year}"
        return f"{first} to {self.end.day} {self.end:%b} {self.end.year}"


class DayRow(Protocol):
    """A row of player_day."""

    @property
    def day(self) -> date: ...
    @property
    def value(self) -> str: ...
    @property
    def active(self) -> int: ...
    @property
    def new(self) -> int: ...
    @property
    def sessions(self) -> int | None: ...
    @property
    def purchases(self) -> int: ...
    @property
    def payers(self) -> int: ...
    @property
    def revenue(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """`active` and `payers` are sums over days: a player counts on each day."""

    active: int = 0
    new: int = 0
    sessions: int = 0
    purchases: int = 0
    payers: int = 0
    revenue: Decimal = Decimal(0)

    @property
    def returning(self) -> int:
        """Active players who were not new on the day."""
        return self.active - self.new

    @property
    def arpdau(self) -> Decimal | None:
        """Revenue per active player and day."""
        return self.revenue / self.active if self.active else None

    @property
    def paying(self) -> float | None:
        """The share of a day's active players who bought something on it, in percent."""
        return 100 * self.payers / self.active if self.active else None

    @property
    def sessions_each(self) -> float | None:
        """Sessions per active player and day."""
        return self.sessions / self.active if self.active else None

    def plus(self, other: "Sums", sign: int = 1) -> "Sums":
        return Sums(
            self.active + sign * other.active,
            self.new + sign * other.new,
            self.sessions + sign * other.sessions,
            self.purchases + sign * other.purchases,
            self.payers + sign * other.payers,
            self.revenue + sign * other.revenue,
        )

    def minus(self, other: "Sums") -> "Sums":
        return self.plus(other, -1)


def sums_of(row: DayRow) -> Sums:
    return Sums(row.active, row.new, row.sessions or 0, row.purchases, row.payers, row.revenue)


def total(rows: Iterable[Sums]) -> Sums:
    return reduce(Sums.plus, rows, Sums())


def by_day(rows: Iterable[DayRow], period: Period) -> dict[date, Sums]:
    return {row.day: sums_of(row) for row in rows if period.start <= row.day <= period.end}


def by_value(rows: Iterable[DayRow], period: Period) -> dict[str, dict[date, Sums]]:
    found: dict[str, dict[date, Sums]] = {}
    for row in rows:
        if period.start <= row.day <= period.end:
            found.setdefault(row.value, {})[row.day] = sums_of(row)
    return found


def most_active(values: Mapping[str, Mapping[date, Sums]], most: int) -> list[str]:
    """The values with the most active players in a period, those first."""
    active = {value: total(days.values()).active for value, days in values.items()}
    return sorted(active, key=lambda value: (-active[value], value))[:most]


def change(now: Decimal | float | None, before: Decimal | float | None) -> str:
    """ "+12 %", "no change"; "" if there is nothing to compare with."""
    if now is None or not before:
        return ""
    part = round(100 * (float(now) / float(before) - 1))
    if part == 0:
        return "no change"
    return f"{'+' if part > 0 else chr(0x2212)}{abs(part):,} %"


# --- Retention ------------------------------------------------------------------------------------


class CohortSums(NamedTuple):
    """The players first seen on a day, and for each number of days how many of them were active
    that long after; None if that day has not ended."""

    day: date
    value: str
    players: int
    kept: Sequence[int | None]


def retention(cohorts: Iterable[CohortSums]) -> list[float | None]:
    """Percent of the players of the cohorts, for each number of days. Of each, only the cohorts
    count for which it is known."""
    known: list[list[tuple[int, int]]] = []
    for cohort in cohorts:
        known = known or [[] for _ in cohort.kept]
        for pairs, kept in zip(known, cohort.kept, strict=True):
            if kept is not None:
                pairs.append((kept, cohort.players))
    shares = []
    for pairs in known:
        players = sum(players for _, players in pairs)
        kept = sum(kept for kept, _ in pairs)
        shares.append(100 * kept / players if players else None)
    return shares
