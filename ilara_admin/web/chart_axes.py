"""The axes of charts: scales, ticks and the texts of values. Imports no Django."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

type Number = float | None  # None, NaN and infinity are gaps

TICKS = 5  # of a number axis, at most
WIDE, NARROW = 13, 5  # labels of the x axis that fit on a page, and on a phone
PERCENT = "%"
ABSENT = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Tick:
    """`at` is in percent along x, in pixels along y."""

    at: float
    text: str

    @property
    def anchor(self) -> str:
        """How its label along x stays inside the chart, which has space before it only."""
        return "end" if self.at > 98 else "middle"


@dataclass(frozen=True, slots=True)
class Axis:
    """The columns: a label for each, and ticks for a wide and a narrow page."""

    labels: Sequence[str]
    wide: Sequence[Tick]
    narrow: Sequence[Tick]
    starts: Sequence[datetime] = ()


# --- Number axes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """A number axis, from its first to its last tick."""

    ticks: Sequence[float]

    @property
    def low(self) -> float:
        return self.ticks[0]

    @property
    def high(self) -> float:
        return self.ticks[-1]

    def share(self, value: float) -> float:
        """Where on the axis a value is: 0 to 1."""
        low = self.ticks[0]
        return (value - low) / (self.ticks[-1] - low)


def scale_for(values: Sequence[float], *, whole: bool) -> Scale:
    """The axis for the values, with at most TICKS ticks at round numbers. `whole`: there is nothing
    between integers. Without two different values it includes zero."""
    low, high = min(values, default=0), max(values, default=0)
    if low == high:
        low, high = min(low, 0), max(high, 0 if low else 1)
    start, end = Decimal(str(low)), Decimal(str(high))  # as written: 0.3 is three tenths
    step = _round_step(end - start, whole=whole)
    while True:
        first, last = math.floor(start / step), math.ceil(end / step)
        if last - first < TICKS:
            return Scale([float(step * number) for number in range(first, last + 1)])
        step = _round_step(step * TICKS, whole=whole)


def _round_step(span: Decimal, *, whole: bool) -> Decimal:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that divides the span into fewer than
    TICKS steps."""
    least = span / (TICKS - 1)
    power = Decimal(1).scaleb(least.adjusted())
    for factor in ("1", "2", "2.5", "5", "10"):
        step = Decimal(factor) * power
        if step >= least and (not whole or step % 1 == 0):
            return step
    return Decimal(1)  # whole numbers that lie closer


SUFFIXES = ("", "k", "M", "B", "T")


def axis_text(value: float, unit: str = "") -> str:
    """1500 as "1.5k". Only a percentage shows its unit."""
    magnitude = min(max(math.floor(math.log10(abs(value)) / 3), 0), 4) if value else 0
    scaled = value / 1000**magnitude
    text = f"{scaled:.3g}" if abs(scaled) >= 10**4 else f"{scaled:.10g}"
    return _signed(f"{text}{SUFFIXES[magnitude]}{' %' if unit == PERCENT else ''}")


def value_text(value: Number, unit: str = "") -> str:
    """1234.567 as "1,234.57", with the unit; a dash if there is none."""
    if (known := finite(value)) is None:
        return ABSENT
    if known == int(known):
        text = f"{int(known):,}" if abs(known) < 10**18 else f"{known:.3g}"
    else:
        text = f"{known:,.2f}".rstrip("0").rstrip(".") if abs(known) >= 1 else f"{known:.2g}"
    if unit == PERCENT:
        return _signed(f"{text} %")
    return _signed(f"{text} {unit if text == '1' else unit + 's'}" if unit else text)


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def finite(value: Number) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def all_finite(values: Iterable[Number]) -> list[float]:
    return [value for value in map(finite, values) if value is not None]


# --- The axis of columns --------------------------------------------------------------------------


def label_axis(labels: Sequence[str], short: Sequence[str] = ()) -> Axis:
    """Columns in a given order, such as days since something. `short` labels stand at the axis."""

    def ticks(most: int) -> list[Tick]:
        every = math.ceil(len(labels) / most) or 1
        return [
            Tick(_percent(index + 0.5, len(labels)), label)
            for index, label in enumerate(short or labels)
            if index % every == 0
        ]

    return Axis(labels, ticks(WIDE), ticks(NARROW))


def time_axis(starts: Sequence[datetime]) -> Axis:
    """Columns of minutes, hours or days, from when each begins, in the reader's zone."""
    wide, narrow = _time_ticks(starts)
    return Axis(time_labels(starts), wide, narrow, starts)


def time_labels(starts: Sequence[datetime]) -> list[str]:
    """Dates, or dates and clock times with the abbreviation of the zone where one occurs twice."""
    if _step(starts) > timedelta(hours=2):
        return [f"{start:%a} {start.day} {start:%b}" for start in starts]
    texts = [f"{start.day} {start:%b}, {start:%H:%M}" for start in starts]
    often = Counter(texts)
    return [
        f"{text} {start:%Z}" if often[text] > 1 else text
        for text, start in zip(texts, starts, strict=True)
    ]


# A tick stands where the key of the local time changes: the finest that are few enough are taken.
_CLOCK_KEYS: list[Callable[[datetime], object]] = [
    *(lambda at, n=n: (at.date(), at.hour, at.minute // n) for n in (5, 10, 15, 30)),
    *(lambda at, n=n: (at.date(), at.hour // n) for n in (1, 2, 3, 6, 12)),
]
_DAY_KEYS: list[Callable[[datetime], object]] = [
    *(lambda at, n=n: at.toordinal() // n for n in (1, 2)),
    *(lambda at, n=n: (at.toordinal() - 1) // n for n in (7, 14)),  # from Mondays
    *(lambda at, n=n: (at.year, (at.month - 1) // n) for n in (1, 3, 12)),
]


def _time_ticks(starts: Sequence[datetime]) -> tuple[list[Tick], list[Tick]]:
    """Ticks at round times of the local clock, for a wide and a narrow page: days at the middle of
    their column, clock times where it begins."""
    if not starts:
        return [], []
    daily = _step(starts) > timedelta(hours=2)
    before = (starts[0].astimezone(UTC) - _step(starts)).astimezone(starts[0].tzinfo)
    moments = [before, *starts]
    fitting: list[list[Tick]] = []
    for key in _DAY_KEYS if daily else [*_CLOCK_KEYS, *_DAY_KEYS]:
        keys = list(map(key, moments))
        found = [index for index in range(len(starts)) if keys[index] != keys[index + 1]]
        while len(fitting) < 2 and len(found) <= (WIDE, NARROW)[len(fitting)]:
            fitting.append(
                [
                    Tick(
                        _percent(index + (0.5 if daily else 0), len(starts)),
                        _tick_text(moments[index], moments[index + 1], daily),
                    )
                    for index in found
                ]
            )
        if len(fitting) == 2:
            break
    wide, narrow = fitting
    return wide, narrow


def _tick_text(last: datetime, at: datetime, daily: bool) -> str:
    if daily or at.date() != last.date():
        return f"{at.day} {at:%b}"
    return f"{at:%H:%M}"


def _step(starts: Sequence[datetime]) -> timedelta:
    """The length of the first column; an hour if there is only one."""
    if len(starts) < 2:
        return timedelta(hours=1)
    return starts[1].astimezone(UTC) - starts[0].astimezone(UTC)


def _percent(part: float, whole: int) -> float:
    return round(100 * part / whole, 3)
