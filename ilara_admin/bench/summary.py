"""Arithmetic on measurements, and how they are written. Imports no Django."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from statistics import median

BAR = 40


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of a scenario, or the medians of several. CPU is in microseconds per request."""

    rate: float  # per second: requests, rows of a batch, events delivered to readers
    p50: float  # milliseconds
    p99: float
    server: float
    postgresql: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def medians(samples: Sequence[Sample]) -> Sample:
    return Sample(*(median(column) for column in zip(*map(astuple, samples), strict=True)))


@dataclass(frozen=True, slots=True)
class Compared:
    """A call beside its limit view, if it has one: the share of the limit's rate that it reaches,
    and the share of its CPU that the limit needs, which other programs disturb less."""

    median: Sample
    limit: str
    of_rate: float | None
    of_cpu: float | None


def compared(
    samples: Mapping[str, Sequence[Sample]], limits: Mapping[str, str]
) -> dict[str, Compared]:
    """`limits` names the limit of a call. Ratios are medians of those of the rounds, as other load
    on the machine differs between rounds."""
    found = {}
    for name, taken in samples.items():
        pairs = list(zip(taken, samples.get(limits.get(name, ""), ()), strict=False))
        found[name] = Compared(
            medians(taken),
            limits.get(name, ""),
            median(each.rate / limit.rate for each, limit in pairs) if pairs else None,
            median(limit.server / each.server for each, limit in pairs) if pairs else None,
        )
    return found


def bars(figures: Mapping[str, float]) -> list[str]:
    """A line for each figure: its name, a bar in proportion to the largest, the figure."""
    widest = max(map(len, figures), default=0)
    largest = max(figures.values(), default=0) or 1
    return [
        f"{name:>{widest}}  {'█' * max(round(BAR * figure / largest), 1):<{BAR}}  {figure:,.0f}"
        for name, figure in figures.items()
    ]
