"""The markup of the many small parts of a chart. Imports no Django, whose templates would take most
of the time of a page: a chart has up to a hundred columns."""

from collections.abc import Iterable, Sequence
from html import escape

from ilara_admin.web.chart_axes import value_text
from ilara_admin.web.charts import (
    COLUMN,
    HEIGHT,
    Chart,
    ChartColumn,
    HeatMap,
    HeatRow,
    Marker,
    spark_path,
)


def column_markup(column: ChartColumn, key: str, attributes: str = "") -> str:
    """Where the pointer or the focus reads a column: a line for each figure, its name and its text
    apart by a tab. The radio buttons of a chart are one Tab stop, and the arrow keys move between
    them; an empty `form` keeps them out of any form."""
    attributes += " data-end" if column.end else ""
    attributes += " data-marked" if column.markers else ""
    figures = (
        "\t".join(filter(None, (_one_line(each.name), each.text))) for each in column.figures
    )
    text = escape("\n".join([_one_line(column.label), *figures]))
    pins = "".join(
        f'<a href="{escape(each.href)}"><span class="tip">{escape(each.label)}</span></a>'
        for each in column.markers
    )
    return (
        f'<div data-hit{attributes}><input type="radio" name="{key}" form="" aria-label="{text}">'
        f"{pins}</div>"
    )


def _one_line(text: str) -> str:
    """A name that a game chose may have tabs and line breaks."""
    return " ".join(text.split())


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


def sparkline_markup(values: Sequence[int], label: str, unit: str) -> str:
    """Small bars for a row of a table. `unit` is a noun in the singular."""
    total, most = value_text(sum(values), unit), value_text(max(values, default=0))
    title = escape(f"{label}: {total} in total, {most} at the highest")
    width = max(len(values), 1) * COLUMN
    return (
        f'<svg class="sparkline" viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none"'
        f' role="img"><title>{title}</title><path d="{spark_path(values)}"/></svg>'
    )
