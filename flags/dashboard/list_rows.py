"""The rows of the list of flags as markup. A template takes five times as long, and it is most of
the time of the page."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from flags.dashboard.stale import hints
from flags.engine import sentences
from flags.engine.document import DocumentError
from flags.engine.schedule import figure_at
from flags.models import Flag
from flags.usage import daily
from ilara_admin.models import Role
from ilara_admin.templatetags import charts, ilara
from ilara_admin.web.access import environment_url, may
from ilara_admin.web.htmx import HtmxHttpRequest

SHOWN_RULES = 2
USE_DAYS = 14


def list_rows(request: HtmxHttpRequest, flags: Sequence[Flag], now: datetime) -> list[SafeString]:
    """A row for each of these flags, which are `with_author` and `with_evidence`. `?selected=`
    selects them."""
    evaluations = daily([flag.pk for flag in flags], now - timedelta(days=USE_DAYS - 1))
    checked = ("", " checked")["selected" in request.GET]
    selects = may(request, Role.LIVE_OPS)
    return [
        format_html(
            _ROW,
            "" if flag.enabled else _OFF,
            format_html(_CHECK, key=flag.key, checked=checked) if selects else "",
            environment_url(request, "flag_detail", flag.key),
            flag.key,
            format_html("<small>{}</small>", flag.name) if flag.name != flag.key else "",
            _tags(flag),
            ilara.pure(
                "flags/_state.html", archived=flag.archived_at is not None, enabled=flag.enabled
            ),
            _rules(request, flag, now),
            format_html("<bdi>{}</bdi>", flag.owner) if flag.owner else "",
            charts.sparkline(evaluations[flag.pk], "Evaluations by day", "evaluation"),
            _evaluated(flag, now),
            ilara.reltime(flag.updated_at),
            flag.changed_by,
        )
        for flag in flags
    ]


def _tags(flag: Flag) -> SafeString | str:
    if not flag.tags:
        return ""
    return format_html(
        '<span class="chips">{}</span>',
        format_html_join("", _TAG, ((quote(tag, safe=""), tag) for tag in flag.tags)),
    )


def _rules(request: HtmxHttpRequest, flag: Flag, now: datetime) -> SafeString:
    """The first rules of the document, or whom it serves without any."""
    try:
        document = flag.spec
    except DocumentError:
        return _UNREADABLE
    if not document.rules:
        return format_html(_EVERYONE, document.default)
    here, context = timezone.localtime(now), {"request": request}
    shown = [
        (
            charts.rollout(figure_at(rule, now), text=False),
            ilara.sentence(context, sentences.sentence_parts(rule, here)),
        )
        for rule in document.rules[:SHOWN_RULES]
    ]
    more = len(document.rules) - len(shown)
    return format_html(
        "{}{}", format_html_join("", _RULE, shown), format_html(_MORE, more) if more else ""
    )


def _evaluated(flag: Flag, now: datetime) -> SafeString:
    found = hints(flag, now)
    return format_html(
        "{}{}{}",
        ilara.reltime(flag.last_evaluated_at),
        format_html(_STALE, " ".join(found)) if found else "",
        format_html(_ARCHIVES, ilara.reltime(flag.archives_at)) if flag.archives_at else "",
    )


_ROW = """<tr{}>{}
<th scope="row"><a class="mono" href="{}">{}</a> {} {}</th>
<td>{}</td>
<td>{}</td>
<td data-col="minor">{}</td>
<td data-col="minor">{}</td>
<td data-col="minor">{}</td>
<td data-col="minor">{} <span class="muted">by <bdi>{}</bdi></span></td>
</tr>
"""
_OFF = mark_safe(' data-tone="off"')
_CHECK = """
<td data-col="check"><input type="checkbox" name="key" value="{key}"
  aria-label="Select {key}"{checked}></td>"""
_TAG = '<a class="chip" href="?tag={}"><bdi>{}</bdi></a> '
_RULE = '<div class="sentence">{} <span>{}</span></div>'
_EVERYONE = '<span class="muted">everyone gets</span> <span class="mono">{}</span>'
_MORE = '<span class="muted">and {} more</span>'
_UNREADABLE = mark_safe('<span class="badge" data-tone="danger">Cannot be read</span>')
_STALE = ' <span class="badge" data-tone="warn" title="{}">Stale</span>'
_ARCHIVES = '<br><span class="muted">archives {}</span>'
