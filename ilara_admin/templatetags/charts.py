"""Charts as SVG, available in every template without loading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from ilara_admin.core import percentages
from ilara_admin.web.chart_axes import value_text
from ilara_admin.web.chart_markup import cells_markup, columns_markup, rows_markup
from ilara_admin.web.charts import (
    COLUMN,
    HEIGHT,
    AnyChart,
    Chart,
    HeatMap,
    Intervals,
    spark_path,
)

register = template.Library()


@register.simple_tag
def chart(drawn: AnyChart) -> SafeString:
    """A chart of ilara_admin/web/charts.py, whose markup is escaped."""
    context: dict[str, Any] = {"chart": drawn}
    match drawn:
        case Chart():
            template = "components/_chart.html"
            context["columns"] = mark_safe(columns_markup(drawn))  # noqa: S308 - escaped there
            context["rows"] = mark_safe(rows_markup(drawn))  # noqa: S308 - escaped there
        case HeatMap():
            template = "components/_heat_map.html"
            cells = [mark_safe(cells_markup(drawn, row)) for row in drawn.rows]  # noqa: S308 - too
            context["rows"] = zip(drawn.rows, cells, strict=True)
        case Intervals():
            template = "components/_intervals.html"
    return render_to_string(template, context)


@register.simple_tag
def sparkline(values: Sequence[int], label: str, unit: str) -> SafeString:
    """Small bars for a row of a table. `unit` is a noun in the singular."""
    total, most = value_text(sum(values), unit), value_text(max(values, default=0))
    title = f"{label}: {total} in total, {most} at the highest"
    width = max(len(values), 1) * COLUMN
    return format_html(_SPARKLINE, width, HEIGHT, title, spark_path(values))


_SPARKLINE = """<svg class="sparkline" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img">
<title>{}</title><path d="{}"/></svg>"""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a proportion bar, in thousandths of a percent."""

    label: str
    weight: int


@register.inclusion_tag("components/_shares.html")
def shares(parts: Sequence[Share], label: str) -> dict[str, Any]:
    """The split of a rollout. The rest up to 100 % stays empty."""
    drawn, x = [], 0
    for index, part in enumerate(parts):
        drawn.append({"part": part, "x": x, "width": part.weight, "series": index % 6 + 1})
        x += part.weight
    return {"label": label, "parts": drawn}


@register.simple_tag
def rollout(thousandths: int, *, text: bool = True) -> SafeString:
    """One percentage as a bar, with its number unless a text says it."""
    number = format_html(_ROLLOUT_NUMBER, percentages.percent(thousandths)) if text else ""
    return format_html(_ROLLOUT, thousandths, number)


_ROLLOUT = """<div class="shares" data-size="figure">
  <svg viewBox="0 0 100000 1" preserveAspectRatio="none" aria-hidden="true">
    <rect data-series="1" x="0" y="0" width="{}" height="1"/>
  </svg>
  {}
</div>"""
_ROLLOUT_NUMBER = '<span><span class="visually-hidden">Rollout </span>{}</span>'
