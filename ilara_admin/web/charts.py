"""Charts: bars, lines, intervals, heat maps. Imports no Django; the tag `chart` draws them.

A drawing is as wide as its place on the page. So positions along x are percentages, or units of a
view box that is stretched, and positions along y are pixels.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ilara_admin.web.chart_axes import (
    PERCENT,
    Axis,
    Number,
    Scale,
    Tick,
    all_finite,
    axis_text,
    finite,
    scale_for,
    value_text,
)

HEIGHT = 160  # pixels of a plot
COLUMN, GAP = 10, 1  # units of the view box: a column, and the space on both sides of its bar
LEAST = 1.5  # pixels of a bar that is not zero
SPARK_LEAST = 12  # the same in a sparkline, which is an eighth as tall
COLOURS = 6
INK = "ink"  # of a line over bars, which has to differ from each of them
PINS = 3  # markers of a column; more are merged
LEVELS = 5  # of a heat map, above zero
PLAYER = "player"  # a unit


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
            ends = below if (known := finite(value) or 0) < 0 else above
            stack.append((ends[index], ends[index] + known))
            ends[index] += 0 if each.line else known
        stacks.append(stack)
    overlaid = [value for each in series if each.line for value in all_finite(each.values)]
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
    known = [value for each in series for value in all_finite(each.values)]
    scale = scale_for(known, whole=_whole(series))
    curves = [_line(number, each.values, scale) for number, each in _coloured(series)]
    return _chart(axis, series, scale, curves, label, unit, markers, summed=False)


def _chart(
    axis: Axis,
    series: Sequence[ChartSeries],
    scale: Scale,
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
    coloured = list(_coloured(series))
    columns = []
    for index, name in enumerate(axis.labels):
        figures = [
            ChartFigure(number, each.name, value_text(each.values[index], each_unit))
            for number, each in coloured
        ]
        if single:
            figures = [ChartFigure(0, "", figures[0].text)]
        if summed:
            total = sum(finite(each.values[index]) or 0 for each in series)
            figures.append(ChartFigure(0, "", value_text(total, unit)))
        columns.append(
            ChartColumn(name, figures, index * 2 >= len(axis.labels), pinned.get(index, ()))
        )
    # The players of two columns are in part the same.
    totals = summed and unit != PLAYER
    legend = [
        ChartFigure(number, each.name, value_text(sum(all_finite(each.values))) if totals else "")
        for number, each in coloured
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


def _bars(stack: Iterable[tuple[float, float]], scale: Scale) -> str:
    """All bars of a series as one path. What is not zero stays visible beside a tall bar."""
    drawn, width = [], COLUMN - 2 * GAP
    for index, (start, end) in enumerate(stack):
        if start == end:
            continue
        base = _pixel(scale, start)
        height = base - _pixel(scale, end)
        if abs(height) < LEAST:
            height = math.copysign(LEAST, height)
        x = index * COLUMN + GAP
        drawn.append(f"M{x} {base:g}v{-height:.4g}h{width}v{height:.4g}z")
    return "".join(drawn)


def _line(series: int | str, values: Sequence[Number], scale: Scale) -> Curve:
    path, dots, run = "", "", []
    for index, value in enumerate([*values, None]):
        known = finite(value)
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


def _pixel(scale: Scale, value: float) -> float:
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


def _whole(series: Iterable[ChartSeries]) -> bool:
    return all(value is None or isinstance(value, int) for each in series for value in each.values)


def _coloured(series: Iterable[ChartSeries]) -> Iterator[tuple[int | str, ChartSeries]]:
    """The series with the numbers of their colours."""
    return ((INK if each.line else index % COLOURS + 1, each) for index, each in enumerate(series))


# --- Intervals and heat maps ----------------------------------------------------------------------


def intervals(rows: Sequence[ChartInterval], *, label: str, unit: str = "") -> Intervals:
    """Estimates on one scale, which includes zero: whether an interval does is what one looks
    for."""
    ends = [end for row in rows for end in all_finite((row.low, row.estimate, row.high))]
    scale = scale_for([0, *ends], whole=False)

    def place(value: float) -> float:
        return round(100 * scale.share(value), 2)

    drawn = []
    for row in rows:
        low, estimate, high = (
            finite(row.low),
            finite(row.estimate),
            finite(row.high),
        )
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
    known = [value for row in values for value in all_finite(row)]
    low, high = min([0, *known]), max([0, *known])

    def level(value: Number) -> int:
        if (found := finite(value)) is None:
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


# --- Sparklines -----------------------------------------------------------------------------------


def spark_path(values: Sequence[float]) -> str:
    """Small bars, in a view box of the size of a chart's. A list has hundreds of them."""
    most, width = max(1, 1, *values), COLUMN - 2 * GAP
    heights = [max(round(HEIGHT * value / most, 2), SPARK_LEAST) for value in values]
    return "".join(
        f"M{index * COLUMN + GAP} {HEIGHT}v-{height:.4g}h{width}v{height:.4g}z"
        for index, (value, height) in enumerate(zip(values, heights, strict=True))
        if value
    )
