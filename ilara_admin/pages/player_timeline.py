"""The rows of a player's timeline, by day."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode

import msgspec
from django.utils import timezone

from events.timeline import (
    BRIEF_LENGTH,
    TimelineAction,
    TimelineEntry,
    TimelineEvent,
    TimelineExposure,
    TimelinePurchase,
)
from ilara_admin.core.diff import Change
from ilara_admin.models import AuditEntry
from ilara_admin.pages.audit_text import AuditLine, audit_lines
from ilara_admin.web.access import environment_url, sees_personal
from ilara_admin.web.htmx import HtmxHttpRequest
from players.personal import masked
from players.purchases import purchase_anchor


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line. `line` is that of the audit log for what staff did, `url` leads to the whole event
    or the experiment, `anchor` is the id of the row of a purchase."""

    entry: TimelineEntry
    line: AuditLine | None = None
    url: str = ""
    anchor: str = ""

    @property
    def brief(self) -> str:
        """What staff changed, on one line: the text of a note, an amount, or the differences."""
        if self.line is None:
            return ""
        entry = self.line.entry
        fields = entry.after or entry.before or {}
        if "note" in fields:
            text = str(fields["note"])
        elif "purchase" in fields:
            text = f"{fields['amount']} {fields['currency']}, {fields['purchase']}"
        else:
            text = "; ".join(map(_words, self.line.short))
        return text[:BRIEF_LENGTH]


def _words(change: Change) -> str:
    sides = " → ".join(filter(None, (change.before, change.after)))
    return f"{change.label} {sides}" if change.label else sides


type Day = tuple[str, list[TimelineRow]]


def days_of(request: HtmxHttpRequest, entries: Sequence[TimelineEntry]) -> list[Day]:
    """The entries under their days in the user's time zone. Personal properties of events are
    masked below the role support."""
    lines = _lines(request, entries)
    marked = () if sees_personal(request) else request.environment.personal_properties
    rows = (_row(request, entry, lines, marked) for entry in entries)
    return [(day, list(found)) for day, found in groupby(rows, key=_day)]


def shows_personal(entries: Iterable[TimelineEntry], personal: Collection[str]) -> bool:
    """Whether an event has one of the personal properties."""
    return any(
        name in entry.detail.properties
        for entry in entries
        if isinstance(entry.detail, TimelineEvent)
        for name in personal
    )


def _day(row: TimelineRow) -> str:
    """`Saturday 28 November 2026`."""
    here = timezone.localtime(row.entry.at)
    return f"{here:%A} {here.day} {here:%B %Y}"


def _lines(request: HtmxHttpRequest, entries: Iterable[TimelineEntry]) -> dict[int, AuditLine]:
    ids = [each.detail.entry_id for each in entries if isinstance(each.detail, TimelineAction)]
    if not ids:
        return {}
    found = AuditEntry.objects.filter(pk__in=ids)
    return {line.entry.pk: line for line in audit_lines(request, found)}


def _row(
    request: HtmxHttpRequest,
    entry: TimelineEntry,
    lines: dict[int, AuditLine],
    marked: Collection[str],
) -> TimelineRow:
    match entry.detail:
        case TimelineAction(entry_id):
            return TimelineRow(entry, lines.get(entry_id))
        case TimelineEvent() as event:
            shown = msgspec.structs.replace(event, properties=masked(event.properties, marked))
            url = environment_url(request, "event_detail", int(entry.tie))
            at = urlencode({"at": entry.at.isoformat()})
            return TimelineRow(
                TimelineEntry(entry.kind, entry.at, entry.tie, shown), url=f"{url}?{at}"
            )
        case TimelineExposure(key):
            return TimelineRow(entry, url=environment_url(request, "experiment_detail", key))
        case TimelinePurchase():
            return TimelineRow(entry, anchor=purchase_anchor(bytes.fromhex(entry.tie)))
    return TimelineRow(entry)
