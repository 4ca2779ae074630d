"""Downloads of the events that match the filters of the Live events page, as CSV or JSON lines."""

from collections.abc import Iterator

import msgspec
from django.core.exceptions import PermissionDenied
from django.http import StreamingHttpResponse
from django.utils import timezone

from events import export, search
from events.forms import TailForm
from events.log_reader import Filter
from events.rows import shown
from events.schemas import StreamedEvent
from events.search import TimeRange
from ilara_admin.core.spreadsheet import line
from ilara_admin.models import Role
from ilara_admin.web.access import actor_of, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest

DOWNLOADED_ROWS = 10_000
CHUNK_ROWS = 500  # in memory; an event may have 64 KiB
LOOKED_EVENTS = 500_000  # for a filter by a property
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}


@staff_view(Role.VIEWER, "POST")
def event_download(request: HtmxHttpRequest) -> StreamingHttpResponse:
    """The newest matching events, newest first, with personal data as on the page."""
    form = TailForm(request)
    if form.problems:
        raise PermissionDenied(" ".join(form.problems))
    format = "jsonl" if request.POST.get("format") == "jsonl" else "csv"
    wanted = form.filter(request.environment)
    place = f"{request.project.slug}-{request.environment.slug}"
    name = f"events-{place}-{timezone.localtime():%Y-%m-%d-%H%M}.{format}"
    return StreamingHttpResponse(
        _lines(request, wanted, form.span, format),
        content_type=TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _lines(request: HtmxHttpRequest, wanted: Filter, span: TimeRange, format: str) -> Iterator[str]:
    """The file. The audit log records how many events were sent, also if the reader went away."""
    count = 0
    try:
        if format == "csv":
            # A spreadsheet needs the byte order mark to read UTF-8.
            yield "\ufeff" + line(export.COLUMNS)
        for event in _events(request.environment.pk, wanted, span):
            seen = shown(request, event)
            yield line(export.row(seen)) if format == "csv" else _json_line(seen)
            count += 1
    finally:
        export.record_download(request.environment, wanted, span, count, actor=actor_of(request))


def _events(environment_id: int, wanted: Filter, span: TimeRange) -> Iterator[StreamedEvent]:
    left, looked = DOWNLOADED_ROWS, 0
    for chunk in search.chunks(environment_id, wanted, span, CHUNK_ROWS):
        for entry in chunk.entries[:left]:
            yield entry.event
        left -= len(chunk.entries)
        looked += chunk.looked
        if left <= 0 or looked >= LOOKED_EVENTS:
            return


def _json_line(event: StreamedEvent) -> str:
    return msgspec.json.encode(event).decode() + "\n"
