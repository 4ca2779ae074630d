"""Charts: scales, ticks, paths and texts. Imports no Django; the tag `chart` draws them.

A drawing is as wide as its place on the page. So positions along x are percentages, or units of a
view box that is stretched, and positions along y are pixels.
"""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import escape

type Number = float | None  # None, NaN and infinity are gaps

HEIGHT = 160  # pixels of a plot
COLUMN, GAP = 10, 1  # units of the view box: a column, and the space on both sides of its bar
LEAST = 1.5  # pixels of a bar that is not zero
SPARK_LEAST = 12  # the same in a sparkline, which is an eighth as tall
TICKS = 5  # of a number axis, at most
WIDE, NARROW = 13, 5  # labels of the x axis that fit on a page, and on a phone
COLOURS = 6
INK = "ink"  # of a line over bars, which has to differ from each of them
PINS = 3  # markers of a column; more are merged
LEVELS = 5  # of a heat map, above zero
PERCENT = "%"
ABSENT = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """A value for each column. `line` draws a line over the bars of the other series."""

    name: str
    values: Sequence[Number]
    line: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """A moment to point out, and the URL of what explains it."""

    at: datetime
    label: str
    href: str


@dataclass(frozen=True, slots=True)
class ChartInterval:
    """An estimate with its limits; all None if it is unknown."""

    name: str
    low: Number
    estimate: Number
    high: Number


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


@dataclass(frozen=True, slots=True)
class ChartFigure:
    """A value in words. `series` is the number of its colour, or INK; 0 for none."""

    series: int | str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ChartColumn:
    """What the pointer or the focus reads. `end`: it is in the second half of the chart."""

    label: str
    figures: Sequence[ChartFigure]
    end: bool = False
    markers: Sequence[Marker] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """A series as SVG paths. `dots` are points without neighbours."""

    series: int | str
    path: str
    dots: str = ""
    line: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of bars or lines."""

    label: str
    key: str  # of the label, for the names of fields
    axis: Axis
    rows: Sequence[Tick]
    zero: float | None  # the pixel of zero, if values lie on both sides
    curves: Sequence[Curve]
    legend: Sequence[ChartFigure]
    series: Sequence[str]  # the heads of the table, whose rows are the columns
    columns: Sequence[ChartColumn]
    height: int = HEIGHT

    @property
    def width(self) -> int:
        return max(len(self.columns), 1) * COLUMN

    @property
    def pins(self) -> int:
        """The most markers of a column."""
        return max((len(each.markers) for each in self.columns), default=0)


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """Positions in percent; None if the estimate is unknown."""

    name: str
    at: tuple[float, float, float] | None  # low, estimate, high
    estimate: str
    limits: str


@dataclass(frozen=True, slots=True)
class Intervals:
    """Estimates with their limits, one a row."""

    label: str
    rows: Sequence[IntervalRow]
    ticks: Sequence[Tick]
    zero: float | None  # in percent


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A row of a heat map: the level of each cell, -1 if it has no value, and its text."""

    name: str
    cells: Sequence[tuple[int, str, ChartColumn]]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Rows of cells, tinted by value. `legend` are the lowest and the highest value."""

    label: str
    key: str
    axis: Axis
    rows: Sequence[HeatRow]
    legend: tuple[str, str]

    @property
    def levels(self) -> Iterator[tuple[int, int]]:
        """The tints for the legend, each with its place in a drawing of 90 pixels."""
        return ((level, 15 * level) for level in range(LEVELS + 1))


type AnyChart = Chart | Intervals | HeatMap


# --- Bars and lines -------------------------------------------------------------------------------


def bars(
    axis: Axis,
    series: Sequence[ChartSeries],
    *,
    label: str,
    unit: str = "",
    markers: Iterable[Marker] = (),
) -> Chart:
    """A bar for each column, stacked if there are several series. `unit` is a noun in the
    singular, or "%" for values from 0 to 100."""
    above, below = [0.0] * len(axis.labels), [0.0] * len(axis.labels)  # ends of the stacks
    stacks: list[list[tuple[float, float]]] = []
    for each in series:
        stack = []
        for index, value in enumerate(each.values):
            ends = below if (known := _known(value) or 0) < 0 else above
            stack.append((ends[index], ends[index] + known))
            ends[index] += 0 if each.line else known
        stacks.append(stack)
    overlaid = [value for each in series if each.line for value in _finite(each.values)]
    reached = [0, *above, *below, *overlaid, *([100] if unit == PERCENT else [])]
    scale = scale_for(reached, whole=_whole(series))
    curves = [
        _line(number, each.values, scale) if each.line else Curve(number, _bars(stack, scale))
        for (number, each), stack in zip(_coloured(series), stacks, strict=True)
    ]
    summed = len(series) > 1 and unit != PERCENT and not overlaid
    return _chart(axis, series, scale, curves, label, unit, markers, summed=summed)


def lines(
    axis: Axis,
    series: Sequence[ChartSeries],
    *,
    label: str,
    unit: str = "",
    markers: Iterable[Marker] = (),
) -> Chart:
    """A line for each series, broken where a value is missing."""
    known = [value for each in series for value in _finite(each.values)]
    scale = scale_for(known, whole=_whole(series))
    curves = [_line(number, each.values, scale) for number, each in _coloured(series)]
    return _chart(axis, series, scale, curves, label, unit, markers, summed=False)


def _chart(
    axis: Axis,
    series: Sequence[ChartSeries],
    scale: "Scale",
    curves: Sequence[Curve],
    label: str,
    unit: str,
    markers: Iterable[Marker],
    *,
    summed: bool,
) -> Chart:
    """`summed`: the values of a column add up."""
    pinned = _pinned(axis, markers)
    single = len(series) == 1
    each_unit = "" if summed else unit
    columns = []
    for index, name in enumerate(axis.labels):
        figures = [
            ChartFigure(number, each.name, value_text(each.values[index], each_unit))
            for number, each in _coloured(series)
        ]
        if single:
            figures = [ChartFigure(0, "", figures[0].text)]
        if summed:
            total = sum(_known(each.values[index]) or 0 for each in series)
            figures.append(ChartFigure(0, "", value_text(total, unit)))
        columns.append(
            ChartColumn(name, figures, index * 2 >= len(axis.labels), pinned.get(index, ()))
        )
    legend = [
        ChartFigure(number, each.name, value_text(sum(_finite(each.values))) if summed else "")
        for number, each in _coloured(series)
    ]
    return Chart(
        label=label,
        key=_key(label),
        axis=axis,
        rows=[Tick(_pixel(scale, value), axis_text(value, unit)) for value in scale.ticks],
        zero=_pixel(scale, 0) if scale.low < 0 < scale.high else None,
        curves=curves,
        legend=[] if single else legend,
        series=[*(each.name for each in series), *(["Total"] if summed else [])],
        columns=columns,
    )


def _bars(stack: Iterable[tuple[float, float]], scale: "Scale", least: float = LEAST) -> str:
    """All bars of a series as one path. What is not zero stays visible beside a tall bar."""
    drawn = []
    for index, (start, end) in enumerate(stack):
        if start == end:
            continue
        base, height = _pixel(scale, start), _pixel(scale, start) - _pixel(scale, end)
        height = math.copysign(max(abs(height), least), height)
        x, width = index * COLUMN + GAP, COLUMN - 2 * GAP
        drawn.append(f"M{x} {base:g}v{-height:.4g}h{width}v{height:.4g}z")
    return "".join(drawn)


def _line(series: int | str, values: Sequence[Number], scale: "Scale") -> Curve:
    path, dots, run = "", "", []
    for index, value in enumerate([*values, None]):
        known = _known(value)
        if known is not None:
            run.append(f"{index * COLUMN + COLUMN // 2} {_pixel(scale, known):g}")
            continue
        if len(run) == 1:
            dots += f"M{run[0]}h0"
        elif run:
            path += f"M{'L'.join(run)}"
        run = []
    return Curve(series, path, dots, line=True)


def _key(label: str) -> str:
    return re.sub(r"\W+", "-", label.lower())


def _pixel(scale: "Scale", value: float) -> float:
    return round(HEIGHT * (1 - scale.share(value)), 2)


def _pinned(axis: Axis, markers: Iterable[Marker]) -> dict[int, list[Marker]]:
    """Markers by column, newest first; the oldest of a full column as one."""
    found: dict[int, list[Marker]] = {}
    for marker in sorted(markers, key=lambda each: each.at, reverse=True):
        index = bisect_right(axis.starts, marker.at) - 1
        if index >= 0:
            found.setdefault(index, []).append(marker)
    return {index: _merged(each) for index, each in found.items()}


def _merged(markers: list[Marker]) -> list[Marker]:
    if len(markers) <= PINS:
        return markers
    first, *rest = markers[PINS - 1 :]
    label = f"{first.label}, and {len(rest)} earlier"
    return [*markers[: PINS - 1], Marker(first.at, label, first.href)]


# --- Markup ---------------------------------------------------------------------------------------

# A chart has up to a hundred columns: Django's templates would take most of the time of a page.


def column_markup(column: ChartColumn, key: str, attributes: str = "") -> str:
    """Where the pointer or the focus reads a column. The radio buttons of a chart are one Tab stop,
    and the arrow keys move between them; an empty `form` keeps them out of any form."""
    attributes += " data-end" if column.end else ""
    attributes += " data-marked" if column.markers else ""
    figures = "".join(map(_figure_markup, column.figures))
    pins = "".join(
        f'<a href="{escape(each.href)}"><span class="tip">{escape(each.label)}</span></a>'
        for each in column.markers
    )
    return (
        f'<div data-hit{attributes}><label><input type="radio" name="{key}" form="">'
        f'<span class="tip"><strong>{escape(column.label)}</strong>{figures}</span></label>'
        f"{pins}</div>"
    )


def _figure_markup(figure: ChartFigure) -> str:
    series = f' data-series="{figure.series}"' if figure.series else ""
    return f"<span{series}>{escape(figure.name)} <b>{escape(figure.text)}</b></span>"


def columns_markup(chart: Chart) -> str:
    """All columns. The newest is where the focus arrives."""
    markup = "".join(column_markup(column, chart.key) for column in chart.columns)
    last = markup.rpartition('form=""')
    return f"{last[0]}{last[1]} checked{last[2]}" if last[1] else ""


def rows_markup(chart: Chart) -> str:
    """A row of the table for each column."""
    return "".join(
        f'<tr><th scope="row">{escape(column.label)}{_links_markup(column.markers)}</th>'
        + "".join(f'<td class="num">{escape(each.text)}</td>' for each in column.figures)
        + "</tr>"
        for column in chart.columns
    )


def _links_markup(markers: Iterable[Marker]) -> str:
    return "".join(f' <a href="{escape(each.href)}">{escape(each.label)}</a>' for each in markers)


def cells_markup(heat: HeatMap, row: HeatRow) -> str:
    return "".join(
        column_markup(column, heat.key, f' data-level="{level}"') for level, _, column in row.cells
    )


# --- Intervals and heat maps ----------------------------------------------------------------------


def intervals(rows: Sequence[ChartInterval], *, label: str, unit: str = "") -> Intervals:
    """Estimates on one scale, which includes zero: whether an interval does is what one looks
    for."""
    ends = [end for row in rows for end in _finite((row.low, row.estimate, row.high))]
    scale = scale_for([0, *ends], whole=False)

    def place(value: float) -> float:
        return round(100 * scale.share(value), 2)

    drawn = []
    for row in rows:
        low, estimate, high = _known(row.low), _known(row.estimate), _known(row.high)
        at, limits = None, ""
        if low is not None and estimate is not None and high is not None:
            at = (place(low), place(estimate), place(high))
            limits = f"{value_text(low)} to {value_text(high, unit)}"
        drawn.append(IntervalRow(row.name, at, value_text(estimate, unit), limits))
    ticks = [Tick(place(value), axis_text(value, unit)) for value in scale.ticks]
    return Intervals(label, drawn, ticks, place(0))


def heat_map(
    rows: Sequence[str],
    columns: Axis,
    values: Sequence[Sequence[Number]],
    *,
    label: str,
    unit: str = "",
) -> HeatMap:
    """`values` are those of each row by column. Tints are proportional to the highest value."""
    known = [value for row in values for value in _finite(row)]
    low, high = min([0, *known]), max([0, *known])

    def level(value: Number) -> int:
        if (found := _known(value)) is None:
            return -1
        return math.ceil(LEVELS * (found - low) / (high - low)) if high > low else 0

    drawn = []
    for name, row in zip(rows, values, strict=True):
        cells = []
        for index, (column, value) in enumerate(zip(columns.labels, row, strict=True)):
            text, end = value_text(value, unit), index * 2 >= len(columns.labels)
            read = ChartColumn(f"{name}, {column}", [ChartFigure(0, "", text)], end)
            cells.append((level(value), text, read))
        drawn.append(HeatRow(name, cells))
    legend = (value_text(low, unit), value_text(high, unit))
    return HeatMap(label, _key(label), columns, drawn, legend)


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
        return (value - self.low) / (self.high - self.low)


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
    if (known := _known(value)) is None:
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


def _known(value: Number) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finite(values: Iterable[Number]) -> list[float]:
    return [value for value in map(_known, values) if value is not None]


def _whole(series: Iterable[ChartSeries]) -> bool:
    return all(value is None or isinstance(value, int) for each in series for value in each.values)


def _coloured(series: Iterable[ChartSeries]) -> Iterator[tuple[int | str, ChartSeries]]:
    """The series with the numbers of their colours."""
    return ((INK if each.line else index % COLOURS + 1, each) for index, each in enumerate(series))


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
_KEYS: list[Callable[[datetime], object]] = [
    *(lambda at, n=n: (at.date(), at.hour, at.minute // n) for n in (5, 10, 15, 30)),
    *(lambda at, n=n: (at.date(), at.hour // n) for n in (1, 2, 3, 6, 12)),
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
    for key in _KEYS:
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


# --- Sparklines -----------------------------------------------------------------------------------


def spark_path(values: Sequence[float]) -> str:
    """Small bars, in a view box of the size of a chart's."""
    return _bars([(0, value) for value in values], Scale([0, max(1, *values, 1)]), SPARK_LEAST)
