"""Charts as SVG, available in every template without loading."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ilara_admin.core import percentages

register = template.Library()


@dataclass(frozen=True, slots=True)
class Bar:
    """One bucket of a chart. `href` is the URL of its rows."""

    label: str
    value: int
    href: str = ""


def nice_ceiling(value: int) -> int:
    """The end of an axis: the smallest of 1, 2, 2.5, 5 and 10 times a power of ten >= `value`."""
    magnitude = int("1" + "0" * (len(str(value)) - 1))
    for tenths in (10, 20, 25, 50, 100):
        ceiling = magnitude * tenths // 10
        if ceiling >= max(value, 1):
            return ceiling
    raise AssertionError("unreachable: ten times its magnitude exceeds any number")


@register.inclusion_tag("components/_bars.html")
def bars(buckets: Iterable[Bar], label: str, unit: str = "", size: str = "") -> dict[str, Any]:
    """A bar chart. size="spark" draws a small one for table rows, without axis or table."""
    data = list(buckets)
    width, gap, height = (4, 1, 20) if size == "spark" else (10, 2, 100)
    peak = max((bar.value for bar in data), default=0)
    top = nice_ceiling(peak)
    drawn = []
    for index, bar in enumerate(data):
        # A non-empty bucket stays visible next to a tall one.
        tall = max(round(bar.value / top * height, 2), 1.5) if bar.value else 0
        title = f"{bar.label}: {bar.value:,} {unit}".strip()
        x = index * (width + gap)
        drawn.append(_bar_svg(bar.href, title, x, width, height, tall))
    middle = data[len(data) // 2].label if len(data) > 2 else ""
    return {
        "label": label,
        "unit": unit,
        "size": size,
        "buckets": data,
        "bars": drawn,
        "width": max(len(data) * (width + gap) - gap, 1),
        "height": height,
        "top": top,
        "peak": peak,
        "total": sum(bar.value for bar in data),
        "first": data[0].label if data else "",
        "middle": middle,
        "last": data[-1].label if data else "",
    }


def _bar_svg(href: str, title: str, x: int, width: int, height: int, tall: float) -> SafeString:
    svg = format_html(
        "<title>{}</title>"
        '<rect x="{x}" y="{}" width="{width}" height="{}"/>'
        '<rect data-hit x="{x}" y="0" width="{width}" height="{height}"/>',
        title, height - tall, tall, x=x, width=width, height=height,
    )  # fmt: skip
    return format_html('<a href="{}" tabindex="-1">{}</a>', href, svg) if href else svg


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
