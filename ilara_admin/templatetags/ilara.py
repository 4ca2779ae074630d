"""Template tags and filters, available in every template without loading."""

import html
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

from django import template
from django.template import defaultfilters
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from heroicons.templatetags.heroicons import heroicon_micro

from ilara_admin.core import percentages, text
from ilara_admin.core.currencies import DEFAULT_PLACES, PLACES
from ilara_admin.core.diff import Change
from ilara_admin.web import access
from ilara_admin.web.context_processors import NavItem

register = template.Library()
ABSENT = "\N{EN DASH}"

# --- Navigation ---------------------------------------------------------------------------------


@register.simple_tag
@lru_cache(maxsize=128)  # rendering parses and copies an XML tree
def icon(name: str) -> SafeString:
    """A 16-pixel icon, hidden from assistive technology: add a text or a label."""
    svg: str = heroicon_micro(name, size=16, **{"class": "icon", "aria-hidden": "true"})
    return mark_safe(svg)  # noqa: S308 - the icon package's own file


@register.simple_tag
def nav_link(item: NavItem) -> SafeString:
    return format_html(
        '<a href="{}" data-shortcut="g {}"{}>{} {}</a>',
        item.url,
        item.shortcut,
        mark_safe(' aria-current="page"') if item.current else "",
        icon(item.icon),
        item.label,
    )


@register.simple_tag
@lru_cache(maxsize=512, typed=True)  # typed: markup and a text may be equal
def pure(template_name: str, **context: object) -> SafeString:
    """Include a template whose output depends on nothing but these values. It is rendered once for
    each combination, so there must be few: no texts of players, no times. No model instances
    either: two states of one row are equal."""
    return render_to_string(template_name, context)


@register.simple_tag(takes_context=True)
def link(context: dict[str, Any], name: str, *args: object) -> str:
    """The URL of a page in the current environment."""
    return access.environment_url(context["request"], name, *args)


@register.simple_tag(takes_context=True)
def dialog_link(context: dict[str, Any], name: str, *args: object, **query: object) -> SafeString:
    """The attributes of a link that opens a page in the dialog. Empty query values are left out."""
    options = {key: str(value) for key, value in query.items() if value not in (None, "")}
    url = access.environment_url(context["request"], name, *args) + (
        "?" + urlencode(options)
    ) * bool(options)
    return format_html('href="{}" hx-get="{}" hx-target="#dialog"', url, url)


class _SentencePart(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def kind(self) -> str: ...


@register.simple_tag(takes_context=True)
def sentence(
    context: dict[str, Any],
    parts: Iterable[_SentencePart],
    chips: bool = False,
    capital: bool = False,
) -> SafeString:
    """A rule in words, see sentence_parts in flags/engine/sentences.py. Segments are links; with
    `chips`, names are chips; with `capital`, it begins with a capital letter."""
    drawn: list[str] = []
    for part in parts:
        words, look = html.escape(part.text), "chip" if chips else "mono"
        if part.kind == "segment":
            url = access.environment_url(context["request"], "segment_detail", part.text)
            drawn.append(f'<a class="{look}" href="{html.escape(url)}">{words}</a>')
        elif part.kind:
            drawn.append(f'<span class="{"chip mono" if chips else look}">{words}</span>')
        else:
            drawn.append(f"<span>{capfirst(words)}</span>" if capital and not drawn else words)
    # A list has hundreds of parts, and format_html takes three times as long.
    return mark_safe("".join(drawn))  # noqa: S308 - all texts are escaped


@register.inclusion_tag("components/_crumbs.html", takes_context=True)
def crumbs(context: dict[str, Any], label: str, name: str, *args: object) -> dict[str, str]:
    """The link to the parent page, for `{% block crumbs %}`."""
    return {"label": label, "url": access.environment_url(context["request"], name, *args)}


@register.simple_tag(takes_context=True)
def live_filter(
    context: dict[str, Any],
    target: str = "results",
    trigger: str = "input delay:300ms, submit",
    push: bool = False,
) -> SafeString:
    """The attributes of a form that filters the list with the id `target` while the user types."""
    return format_html(
        'method="get" action="{0}" hx-get="{0}" hx-trigger="{1}" hx-target="#{2}"'
        ' hx-swap="outerHTML" hx-sync="this:replace" hx-indicator="#{2}"{3}',
        context["request"].path,
        trigger,
        target,
        mark_safe(' hx-push-url="true"') if push else "",
    )


_TONE_ICONS = {"ok": "check-circle", "info": "information-circle"}


@register.simple_tag
def tone_icon(tone: str) -> SafeString:
    return icon(_TONE_ICONS.get(tone, "exclamation-triangle"))


@register.simple_block_tag
def notice(content: SafeString, tone: str, alert: bool = False, focus: bool = False) -> SafeString:
    """A message inside the page. Screen readers announce an `alert`; `focus` also focuses it."""
    return format_html(
        '<div class="notice" data-tone="{}"{}{}>{}<div>{}</div></div>',
        tone,
        mark_safe(' role="alert"') if alert or focus else "",
        mark_safe(' tabindex="-1" autofocus') if focus else "",
        tone_icon(tone),
        content,
    )


@register.simple_block_tag
def empty_state(content: SafeString, title: str, **context: object) -> SafeString:
    """The text for an empty list, with an optional button (url, label, tone) or code."""
    return render_to_string("components/_empty.html", {"title": title, "text": content, **context})


# --- Text ---------------------------------------------------------------------------------------

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def reltime_words(moment: datetime, now: datetime) -> str:
    """A relative time, such as "3 min ago". ilara.js updates it in the same format."""
    seconds = int((now - moment).total_seconds())
    distance = abs(seconds)
    if distance < 5:
        return "just now"
    if distance >= 30 * 86400:
        return f"{moment.day} {_MONTHS[moment.month]} {moment.year}"
    size, unit = next(each for each in _UNITS if distance >= each[0])
    if seconds > 0:
        return f"{distance // size} {unit} ago"
    # Round, so that "in 24 h" does not become "in 23 h" at once.
    return f"in {(distance + size // 2) // size} {unit}"


@register.simple_tag
def reltime(moment: datetime | None, never: str = "never") -> SafeString:
    """A relative time; its tooltip has the exact time in the user's zone and in UTC."""
    if moment is None:
        return format_html('<span class="muted">{}</span>', never)
    here = timezone.localtime(moment)
    return _time(here, reltime_words(here, timezone.now()), " data-reltime")


@register.simple_tag
def clock(moment: datetime) -> SafeString:
    """The time of day in the user's zone, with the tooltip of a relative time."""
    here = timezone.localtime(moment)
    return _time(here, here.time().isoformat(timespec="seconds"))


@register.simple_tag
def exact_time(moment: datetime) -> SafeString:
    """The date and the time of day in the user's zone, with seconds if not 0, with the tooltip of a
    relative time."""
    here = timezone.localtime(moment)
    words = _exact(here)
    return _time(here, words if here.second else words.removesuffix(":00"))


@register.filter
def both_zones(moment: datetime) -> str:
    """A time in the user's zone and in UTC, for a tooltip."""
    return _both_zones(timezone.localtime(moment))


def _both_zones(here: datetime) -> str:
    text = f"{_exact(here)} {here.tzname()}"
    return f"{text} · {_exact(here.astimezone(UTC))} UTC" if here.utcoffset() else text


def _time(here: datetime, words: str, more: str = "") -> SafeString:
    utc = here.astimezone(UTC)
    title = _both_zones(here)
    stamp = utc.replace(tzinfo=None).isoformat(timespec="seconds")
    # Digits and names of months and zones. Escaping them would take most of the time.
    return mark_safe(f'<time datetime="{stamp}Z" title="{title}"{more}>{words}</time>')  # noqa: S308 - see above


# strftime is slow.
_MONTHS = [
    "", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
]  # fmt: skip


def _exact(moment: datetime) -> str:
    clock = moment.time().isoformat(timespec="seconds")
    return f"{moment.day} {_MONTHS[moment.month]} {moment.year}, {clock}"


@register.filter
def truncatechars(text: object, length: int) -> str:
    """Django's filter, which takes 25 times as long for a text that fits."""
    found = str(text)
    return found if len(found) <= length else defaultfilters.truncatechars(found, length)


@register.filter
def isolated(value: object) -> str:
    """A client's text for a place without elements: a title, a label."""
    return text.isolated(str(value))


@register.filter
def percent(thousandths: int | None) -> str:
    """Thousandths of a percent as text: 12500 is "12.5 %"."""
    return ABSENT if thousandths is None else percentages.percent(thousandths)


@register.filter
def share(part: float) -> str:
    """A fraction as a percentage: 0.234 is "23 %"."""
    return "under 1 %" if 0 < part < 0.005 else f"{part:.0%}".replace("%", " %")


@register.filter
def money(amount: Decimal | None, currency: str = "") -> str:
    """An amount with its currency code, since currency signs are ambiguous."""
    return ABSENT if amount is None else f"{amount_text(amount, currency)} {currency}".rstrip()


@register.filter("amount")
def amount_text(amount: Decimal | None, currency: str) -> str:
    """An amount in a column with the currency in its heading. Has the places of the currency, more
    only if the amount has more."""
    if amount is None:
        return ABSENT
    exponent = Decimal(amount).normalize().as_tuple().exponent
    own = -exponent if isinstance(exponent, int) else 0
    return f"{amount:,.{max(PLACES.get(currency, DEFAULT_PLACES), own)}f}"


@register.filter
def number(value: int | None) -> str:
    """1234567 as "1,234,567"."""
    return ABSENT if value is None else f"{value:,}"


@register.filter
def counted(count: int, noun: str) -> str:
    """3 and "flag" as "3 flags"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@register.filter
def difference(change: Change) -> SafeString:
    """A value before and after, without a side that has none."""
    sides = (("del", change.before), ("ins", change.after))
    return format_html_join(
        " → ", "<{0}>{1}</{0}>", ((tag, truncatechars(text, 1000)) for tag, text in sides if text)
    )


@register.filter
def prose(text: str) -> SafeString:
    """Plain text in which `backquotes` mark code."""
    return format_html_join(
        "",
        "{}",
        (
            (format_html("<code>{}</code>", part) if index % 2 else part,)
            for index, part in enumerate(text.split("`"))
        ),
    )


@register.filter
def json_pretty(value: Any) -> str:
    """Indented JSON as plain text; the template escapes it."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def attributes(attrs: Mapping[str, object]) -> SafeString:
    """The attributes of a control in HTML. True stands for one without a value, False for none."""
    written = [
        format_html(" {}" if value is True else ' {}="{}"', name, value)
        for name, value in attrs.items()
        if value is not False
    ]
    return format_html_join("", "{}", ((each,) for each in written))


@register.filter
def option_tags(
    groups: Iterable[tuple[str | None, Iterable[Mapping[str, Any]], int]],
) -> SafeString:
    """The options of a `<select>`, from a widget's `optgroups`. Some have hundreds of options, and
    a template takes several times as long."""
    written = []
    for group, options, _ in groups:
        each = "\n".join(
            f'<option value="{html.escape(str(option["value"]))}"'
            f"{attributes(option['attrs']) if option['attrs'] else ''}>"
            f"{conditional_escape(option['label'])}</option>"
            for option in options
        )
        if group:
            each = f'<optgroup label="{conditional_escape(group)}">\n{each}\n</optgroup>'
        written.append(each)
    return mark_safe("\n".join(written))  # noqa: S308 - all texts are escaped


@register.simple_tag
def timeline_event(row: Any, url: str) -> SafeString:
    """An event of a player's timeline (a TimelineRow). `url` is that of the timeline of one event,
    up to its name. Most rows are events, and a template takes several times as long."""
    entry, event = row.entry, row.entry.detail
    late = entry.late
    text = json_pretty(event.properties) if event.properties else ""
    return format_html(
        _TIMELINE_EVENT,
        clock(entry.at),
        icon("bolt"),
        event.name,
        event.brief,
        _LATE_BADGE if late else "",
        format_html(_LATE, reltime(late)) if late else "",
        format_html(_SESSION, event.session_id) if event.session_id else "",
        format_html("<pre>{}</pre>", truncatechars(text, MOST_JSON)) if text else "",
        url=url + quote_plus(event.name),
        whole=row.url,
    )


MOST_JSON = 4_000  # characters of properties in a timeline; the page of the event has all
_TIMELINE_EVENT = """<details>
<summary>
  {} {} <span data-line><span class="mono">{}</span> <span class="mono muted">{}</span></span>{}
</summary>
<div>{}{}{}<p class="actions">
  <a class="btn" data-size="small" href="{whole}" hx-get="{whole}" hx-target="#dialog">
    Whole event
  </a>
  <a class="btn" data-size="small" href="{url}#timeline" hx-get="{url}" hx-target="#timeline"
    hx-swap="outerHTML" hx-indicator="#timeline">Only events of this name</a>
</p></div>
</details>"""
_LATE_BADGE = mark_safe('<span class="badge" data-tone="warn">Late</span>')
_LATE = "<p>Occurred {} by the device clock.</p>"
_SESSION = '<p>Session <span class="mono">{}</span></p>'
