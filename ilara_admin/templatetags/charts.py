"""Charts as SVG, available in every template without loading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from ilara_admin.core import percentages
from ilara_admin.web.chart_markup import (
    cells_markup,
    columns_markup,
    rows_markup,
    sparkline_markup,
)
from ilara_admin.web.charts import AnyChart, Chart, HeatMap, Intervals

register = template.Library()


@register.simple_tag
def chart(drawn: AnyChart) -> SafeString:
    """A chart of ilara_admin/web/charts.py, whose markup is escaped."""
    context: dict[str, Any] = {"chart": drawn}
    match drawn:
        case Chart():
            template = "components/_chart.html"
            context["columns"] = _escaped(columns_markup(drawn))
            context["rows"] = _escaped(rows_markup(drawn))
        case HeatMap():
            template = "components/_heat_map.html"
            cells = [_escaped(cells_markup(drawn, row)) for row in drawn.rows]
            context["rows"] = zip(drawn.rows, cells, strict=True)
        case Intervals():
            template = "components/_intervals.html"
    return render_to_string(template, context)


def _escaped(markup: str) -> SafeString:
    return mark_safe(markup)  # noqa: S308 - chart_markup.py, which wrote it, escapes all texts


@register.simple_tag
def sparkline(values: Sequence[int], label: str, unit: str) -> SafeString:
    """Small bars for a row of a table. `unit` is a noun in the singular."""
    return _escaped(sparkline_markup(values, label, unit))


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
