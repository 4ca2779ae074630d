"""The Live events page: events as they arrive, the search of past ones, and one event."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import TextField
from django.db.models.functions import Cast
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django_htmx.http import push_url

from events import search, tail
from events.charts import rates_chart
from events.forms import TailForm
from events.log_reader import Filter
from events.models import Event
from events.properties import is_personal, visible
from events.rows import rows_of
from events.search import ALL_TIME, FoundEvents, position_of
from events.stats import freshness, rates
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, sees_personal, staff_view
from ilara_admin.web.filters import address
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from players.models import Player
from players.services import personal_data_seen

SHOWN_ROWS = 50
PAGE_ROWS = 200  # that the live page holds; after a pause, further ones are only counted
PENDING_LIMIT = 10_000
KNOWN_IDS = 400


@staff_view(Role.VIEWER)
def event_tail(request: HtmxHttpRequest) -> HttpResponse:
    """The newest events and a stream of new ones; or past events, if a time range is given.

    `?paused=` stops the stream, and new events are only counted. `?since=` is the cursor at which
    the page was paused; later events are shown first. `?before=` continues a search.
    """
    form = TailForm(request)
    before = position_of(request.GET.get("before", ""))
    context: dict[str, Any] = {"form": form, "query": form.query, "now": timezone.now()}
    if form.problems:
        context |= {"state": "refused"}
    elif form.is_past or before:
        wanted = form.filter(request.environment)
        found = search.search(request.environment.pk, wanted, form.span, SHOWN_ROWS, before)
        context |= {"state": "past", "is_continued": before is not None}
        context |= _found(request, found, wanted)
    else:
        context |= _live(request, form)
    response = render_partial(request, "events/tail.html", context, partial="tail")
    if request.htmx.trigger == "tail-filters":
        push_url(response, address(request))
    return response


def _found(request: HtmxHttpRequest, found: FoundEvents, wanted: Filter) -> dict[str, Any]:
    player = None
    if wanted.player_id and found.entries:
        player = Player.objects.of(request.environment).filter(pk=wanted.player_id).first()
    if player:
        _record_seen(request, player, (entry.event.properties for entry in found.entries))
    return {
        "rows": rows_of(request, found.entries),
        "looked_to": found.looked_to,
        "is_full": len(found.entries) >= SHOWN_ROWS,
    }


def _live(request: HtmxHttpRequest, form: TailForm) -> dict[str, Any]:
    environment_id, wanted = request.environment.pk, form.filter(request.environment)
    beginning = tail.begin(environment_id)
    since = cursor_of(request.GET.get("since", ""))
    size = SHOWN_ROWS if since is None else PAGE_ROWS
    found = search.search(environment_id, wanted, ALL_TIME, size)
    ids = sorted((entry.id for entry in found.entries), reverse=True)
    unseen = 0
    if since is not None and len(ids) == PAGE_ROWS and ids[-1] > since:
        count, _ = search.count_after(environment_id, wanted, since, PENDING_LIMIT)
        unseen = max(count - PAGE_ROWS, 0)
    after, shown = _beginning_of_stream(beginning, ids)
    state = "live"
    if "paused" in request.GET:
        state = "paused"
    elif request.GET.get("mode") == "poll":
        state = "full"
    return {
        "state": state,
        "unseen": unseen,
        # The newest event the reader has seen; a pause counts from here.
        "newest": ids[0] if ids else beginning.safe,
        "stream_query": f"after={after}&shown={','.join(map(str, shown))}&{form.query}",
        "limit": PAGE_ROWS,
        # The counts of a name are not kept by player.
        **({} if form.value("player") else _rate(request, form)),
        **_found(request, found, wanted),
    }


def _beginning_of_stream(beginning: tail.Beginning, found: list[int]) -> tuple[int, list[int]]:
    """Where the stream of a page with these rows starts, and which ids it should not repeat. The
    stream repeats everything that is not known to be settled. If that is too much for a URL, it
    starts at the oldest row of the page."""
    known = {*beginning.ids, *(id for id in found if id > beginning.safe)}
    if len(known) <= KNOWN_IDS:
        return beginning.safe, sorted(known)
    after = max(beginning.safe, found[-1] - 1) if found else max(known)
    return after, [id for id in found if id > after]


@staff_view(Role.VIEWER)
def event_rate(request: HtmxHttpRequest) -> HttpResponse:
    """The chart of the live page, which reloads it."""
    return render(request, "events/_rate.html", _rate(request, TailForm(request)))


def _rate(request: HtmxHttpRequest, form: TailForm) -> dict[str, Any]:
    now, name = timezone.now(), form.value("name") or None
    label = f"{name} per minute" if name else "Events per minute"
    return {
        "query": form.query,
        "chart": rates_chart(rates(request.environment, now, name), label),
        "counts_more": bool(form.value("prop")),
        "fresh": freshness(request.environment, now),
    }


@staff_view(Role.VIEWER)
def event_pending(request: HtmxHttpRequest) -> HttpResponse:
    """The number of events since the pause."""
    form = TailForm(request)
    if form.problems:
        raise Http404("The filters are not valid.")
    count, is_cut = search.count_after(
        request.environment.pk,
        form.filter(request.environment),
        cursor_of(request.GET.get("after", "")) or 0,
        PENDING_LIMIT,
    )
    text = f"at least {count:,}" if is_cut else f"{count:,}"
    return render(request, "events/_pending.html", {"count": count, "text": text})


@staff_view(Role.VIEWER)
def event_detail(request: HtmxHttpRequest, event: int) -> HttpResponse:
    """One event. `?at=` is when it was received, which locates its partition."""
    at: datetime | None
    try:
        at = datetime.fromisoformat(request.GET.get("at", ""))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Http404("The URL of an event must include when it was received.")
    row: Any = (
        Event.objects.of(request.environment)
        .annotate(text=Cast("properties", TextField()))
        .filter(received_at=at, id=event)
        .first()
    )
    if row is None:
        raise Http404("No such event, or its retention period has ended.")
    player = Player.objects.of(request.environment).filter(pk=row.player_id).first()
    text = row.text.encode()
    if not sees_personal(request):
        text = visible(text, request.environment.personal_properties)
    elif player:
        _record_seen(request, player, [text])
    pretty = msgspec.json.format(text, indent=2).decode()
    context = {"event": row, "player": player, "properties": pretty}
    return render_partial(request, "events/detail.html", context, partial="event")


def _record_seen(
    request: HtmxHttpRequest, player: Player, properties: Iterable[bytes | msgspec.Raw]
) -> None:
    """Record that the user sees personal data in the events of one player, if there is any."""
    personal = request.environment.personal_properties
    if sees_personal(request) and any(is_personal(each, personal) for each in properties):
        player.environment = request.environment
        personal_data_seen(player, actor=actor_of(request), shown=True)


def cursor_of(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None
