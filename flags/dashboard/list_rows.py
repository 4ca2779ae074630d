"""The rows of the list of flags as markup. Django's templates and format_html would take most of
the time of the page."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from urllib.parse import quote

from django.utils import timezone

from flags.dashboard.stale import hints
from flags.engine import sentences
from flags.engine.document import DocumentError
from flags.engine.schedule import figure_at
from flags.models import Flag
from flags.usage import daily
from ilara_admin.models import Role
from ilara_admin.templatetags import charts, ilara
from ilara_admin.web.access import environment_url, may
from ilara_admin.web.chart_markup import sparkline_markup
from ilara_admin.web.htmx import HtmxHttpRequest

SHOWN_RULES = 2
USE_DAYS = 14


def list_rows(request: HtmxHttpRequest, flags: Sequence[Flag], now: datetime) -> str:
    """A row for each of these flags, which are `with_author` and `with_evidence`. `?selected=`
    selects them."""
    evaluations = daily([flag.pk for flag in flags], now - timedelta(days=USE_DAYS - 1))
    selects, selected = may(request, Role.LIVE_OPS), "selected" in request.GET
    here = timezone.localtime(now)
    return "".join(
        f"<tr{'' if flag.enabled else ' data-tone="off"'}>"
        f"{_checkbox(flag, selected) if selects else ''}"
        f'<th scope="row">{"".join(_names(request, flag))}</th>'
        f"<td>{_state(flag)}</td>"
        f"<td>{''.join(_rules(request, flag, here))}</td>"
        f'<td data-col="minor">{_bdi(flag.owner) if flag.owner else ""}</td>'
        f'<td data-col="minor">{_sparkline(evaluations[flag.pk])}</td>'
        f'<td data-col="minor">{"".join(_evaluated(flag, now))}</td>'
        f'<td data-col="minor">{ilara.reltime(flag.updated_at)}'
        f' <span class="muted">by {_bdi(str(flag.changed_by))}</span></td>'
        "</tr>\n"
        for flag in flags
    )


def _checkbox(flag: Flag, selected: bool) -> str:
    key = escape(flag.key)
    return (
        f'<td data-col="check"><input type="checkbox" name="key" value="{key}"'
        f' aria-label="Select {key}"{" checked" if selected else ""}></td>'
    )


def _names(request: HtmxHttpRequest, flag: Flag) -> Iterator[str]:
    url = environment_url(request, "flag_detail", flag.key)
    yield f'<a class="mono" href="{escape(url)}">{escape(flag.key)}</a>'
    if flag.name != flag.key:
        yield f" <small>{escape(flag.name)}</small>"
    if flag.tags:
        yield ' <span class="chips">'
        for tag in flag.tags:
            yield f'<a class="chip" href="?tag={quote(tag, safe="")}">{_bdi(tag)}</a> '
        yield "</span>"


def _state(flag: Flag) -> str:
    archived = flag.archived_at is not None
    return ilara.pure("flags/_state.html", archived=archived, enabled=flag.enabled)


def _rules(request: HtmxHttpRequest, flag: Flag, here: datetime) -> Iterator[str]:
    """The first rules of the document, or the default value of one without rules."""
    try:
        document = flag.spec
    except DocumentError:
        yield '<span class="badge" data-tone="danger">Cannot be read</span>'
        return
    if not document.rules:
        yield '<span class="muted">everyone gets</span> '
        yield f'<span class="mono">{escape(document.default)}</span>'
    context = {"request": request}
    for rule in document.rules[:SHOWN_RULES]:
        bar = charts.rollout(figure_at(rule, here), text=False)
        words = ilara.sentence(context, sentences.sentence_parts(rule, here))
        yield f'<div class="sentence">{bar} <span>{words}</span></div>'
    if len(document.rules) > SHOWN_RULES:
        yield f'<span class="muted">and {len(document.rules) - SHOWN_RULES} more</span>'


def _sparkline(evaluations: Sequence[int]) -> str:
    return sparkline_markup(evaluations, "Evaluations by day", "evaluation")


def _evaluated(flag: Flag, now: datetime) -> Iterator[str]:
    yield ilara.reltime(flag.last_evaluated_at)
    if found := hints(flag, now):
        title = escape(" ".join(found))
        yield f' <span class="badge" data-tone="warn" title="{title}">Stale</span>'
    if flag.archives_at:
        yield f'<br><span class="muted">archives {ilara.reltime(flag.archives_at)}</span>'


def _bdi(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"
