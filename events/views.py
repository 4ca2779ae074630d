"""The Live events page, the stream of table rows that feeds it, and the page of one event."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import connection
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from events import log_reader, stream, tail
from events.forms import TailForm
from events.log_reader import LogEntry
from events.models import Event
from ilara_admin.models import Role
from ilara_admin.web.access import environment_url, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial
from players.models import Player

SHOWN_ROWS = 100
RESUMED_ROWS = 500  # rows shown after a pause; further ones are only counted
PENDING_LIMIT = 10_000
KNOWN_IDS = 400
# The stream ends after this time and the browser reconnects, which checks its session again.
STREAM_SECONDS = 300


@staff_view(Role.VIEWER)
def event_tail(request: HtmxHttpRequest) -> HttpResponse:
    """The newest events and a stream of new ones; while paused, new ones are only counted.

    `?since=` is the cursor at which the page was paused; later events are shown first.
    """
    form = TailForm(request)
    wanted = form.filter(request.environment)
    beginning = tail.begin(request.environment.pk)
    since = _cursor(request.GET, "since")
    found = log_reader.newest(
        request.environment.pk, SHOWN_ROWS if since is None else RESUMED_ROWS, wanted
    )
    unseen = 0
    if since is not None and len(found) == RESUMED_ROWS and found[-1].id > since:
        unseen = max(count_after(request, since) - RESUMED_ROWS, 0)
    query = _filters(request.GET)
    after, shown = _beginning_of_stream(beginning, [entry.id for entry in found])
    context = {
        "form": form,
        "rows": _rows(request, found, external_ids(entry.event.player_id for entry in found)),
        "unseen": unseen,
        "paused": "paused" in request.GET,
        "polling": request.GET.get("mode") == "poll",
        # The newest event the reader has seen; a pause counts from here.
        "newest": found[0].id if found else beginning.safe,
        "query": query,
        "stream_query": f"after={after}&shown={','.join(map(str, shown))}&{query}",
        "limit": RESUMED_ROWS,
        "now": timezone.now(),
    }
    return render_partial(request, "events/tail.html", context, partial="tail")


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
def event_pending(request: HtmxHttpRequest) -> HttpResponse:
    """The number of events since the pause."""
    count = count_after(request, _cursor(request.GET, "after") or 0)
    text = f"{count:,}" if count < PENDING_LIMIT else f"more than {PENDING_LIMIT - 1:,}"
    return render(request, "events/_pending.html", {"count": count, "text": text})


def count_after(request: HtmxHttpRequest, after: int) -> int:
    wanted = TailForm(request).filter(request.environment)
    found = Event.objects.of(request.environment).filter(id__gt=after)
    if wanted.event_name:
        found = found.filter(name=wanted.event_name)
    if wanted.player_id:
        found = found.filter(player_id=wanted.player_id)
    return found.order_by()[:PENDING_LIMIT].count()


@staff_view(Role.VIEWER)
def event_stream(request: HtmxHttpRequest) -> HttpResponseBase:
    """The rows of the live page as server-sent events, for a browser session."""
    wanted = TailForm(request).filter(request.environment)
    after = _cursor_of(request.headers.get("Last-Event-ID", "")) or _cursor(request.GET, "after")
    shown = {int(part) for part in request.GET.get("shown", "").split(",") if part.isdecimal()}
    beginning = tail.begin(request.environment.pk)
    try:
        reader = tail.subscribe(request.environment.pk, beginning, wanted)
    except tail.TooManyReadersError:
        full = "event: full\ndata: full\n\n"
        return StreamingHttpResponse([full], content_type="text/event-stream")
    return stream.response(request, reader, after, _row_frames(request, reader, shown))


def _row_frames(
    request: HtmxHttpRequest, reader: tail.Subscription, shown: set[int]
) -> stream.Render:
    """Render arrivals as table rows, in the reader's time zone. The page already has `shown`."""
    zone, until = timezone.get_current_timezone(), monotonic() + STREAM_SECONDS

    def render(arrival: tail.Arrival) -> bytes:
        if monotonic() > until:
            reader.end("Reconnect with your session")
        if arrival.entry is not None and arrival.entry.id not in shown:
            player_id = arrival.entry.event.player_id
            names = {player_id: external_id(player_id)}
            context: dict[str, Any] = {"rows": _rows(request, [arrival.entry], names)}
        elif arrival.missed:
            context = {"unseen": arrival.missed}
        else:
            return b": alive\nid: %d\n\n" % arrival.cursor
        with timezone.override(zone):
            html = render_to_string("events/_rows.html", context, request)
        connection.close()
        data = "".join(f"data: {line}\n" for line in html.strip().splitlines())
        return f"event: rows\nid: {arrival.cursor}\n{data}\n".encode()

    return render


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
    row = Event.objects.of(request.environment).filter(received_at=at, id=event).first()
    if row is None:
        raise Http404("No such event, or its retention period has ended.")
    player = Player.objects.of(request.environment).filter(pk=row.player_id).first()
    return render_partial(
        request, "events/detail.html", {"event": row, "player": player}, partial="event"
    )


# --- Rows ---------------------------------------------------------------------------------------


def _rows(
    request: HtmxHttpRequest, found: list[LogEntry], names: Mapping[UUID, str]
) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.id,
            "event": entry.event,
            "properties": bytes(entry.event.properties).decode(),
            "player": names.get(entry.event.player_id, str(entry.event.player_id)),
            "player_url": environment_url(request, "player_detail", entry.event.player_id),
            "url": _event_url(request, entry),
        }
        for entry in found
    ]


def _event_url(request: HtmxHttpRequest, entry: LogEntry) -> str:
    query = QueryDict(mutable=True)
    query["at"] = entry.event.received_at.isoformat()
    return f"{environment_url(request, 'event_detail', entry.id)}?{query.urlencode()}"


def external_ids(player_ids: Iterable[UUID]) -> dict[UUID, str]:
    found = Player.objects.filter(pk__in=set(player_ids)).values_list("id", "external_id")
    return dict(found)


@lru_cache(maxsize=10_000)  # an id's external id never changes, and a stream looks up row by row
def external_id(player_id: UUID) -> str:
    return external_ids([player_id]).get(player_id, str(player_id))


# --- URL parameters -----------------------------------------------------------------------------


def _cursor(query: QueryDict, name: str) -> int | None:
    return _cursor_of(query.get(name, ""))


def _cursor_of(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None


def _filters(query: QueryDict) -> str:
    """The filters alone, for the URLs of the stream and of the other states."""
    filters = QueryDict(mutable=True)
    for name in ("name", "player", "mode"):
        if value := query.get(name):
            filters[name] = str(value)
    return filters.urlencode()
