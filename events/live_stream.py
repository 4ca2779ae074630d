"""The stream of table rows that feeds the Live events page."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils import timezone

from events import stream, tail
from events.forms import TailForm
from events.rows import rows_of
from events.views import PAGE_ROWS, cursor_of
from ilara_admin.models import Role
from ilara_admin.web.access import staff_view
from ilara_admin.web.htmx import HtmxHttpRequest

# The stream ends after this time and the browser reconnects, which checks its session again.
STREAM_SECONDS = 300
# A younger event counts as shown at once: the log is read three times a second.
BEHIND_SECONDS = 5


@staff_view(Role.VIEWER)
def event_stream(request: HtmxHttpRequest) -> HttpResponseBase:
    """The rows of the live page as server-sent events, for a browser session: `rows` is HTML,
    `state` the seconds by which the rows lag, `full` means that the process serves no more readers.
    """
    form = TailForm(request)
    if form.problems:
        raise PermissionDenied(" ".join(form.problems))
    wanted = form.filter(request.environment)
    after = cursor_of(request.headers.get("Last-Event-ID", "")) or cursor_of(
        request.GET.get("after", "")
    )
    shown = {int(part) for part in request.GET.get("shown", "").split(",") if part.isdecimal()}
    beginning = tail.begin(request.environment.pk)
    try:
        reader = tail.subscribe(request.environment.pk, beginning, wanted)
    except tail.TooManyReadersError:
        full = "event: full\ndata: full\n\n"
        return StreamingHttpResponse([full], content_type="text/event-stream")
    return stream.response(request, reader, _frames(request, reader, after, shown))


def _frames(
    request: HtmxHttpRequest, reader: tail.Subscription, after: int | None, shown: set[int]
) -> Iterator[bytes]:
    """The rows of what arrived together in one frame, in the reader's time zone, and how far the
    reader is behind. The page already has `shown`."""
    zone, until = timezone.get_current_timezone(), monotonic() + STREAM_SECONDS
    for batch in reader.batches(after):
        if monotonic() > until:
            reader.end("Reconnect with your session")
        found = [each.entry for each in batch if each.entry and each.entry.id not in shown]
        # The page holds no more rows; a row without links says how many it does not show.
        entries = found[-PAGE_ROWS:][::-1]
        missed = sum(each.missed for each in batch) + len(found) - len(entries)
        if entries or missed:
            with timezone.override(zone):
                context: dict[str, Any] = {"rows": rows_of(request, entries), "unseen": missed}
                html = render_to_string("events/_rows.html", context, request)
            connection.close()
            lines = "".join(f"data: {line}\n" for line in html.strip().splitlines())
            yield f"event: rows\nid: {batch[-1].cursor}\n{lines}\n".encode()
        behind = int(reader.seconds_behind(batch))
        seconds = behind if behind >= BEHIND_SECONDS else 0
        yield b"event: state\nid: %d\ndata: %d\n\n" % (batch[-1].cursor, seconds)
