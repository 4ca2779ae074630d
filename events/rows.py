"""Rows of events for the live page, its stream and its downloads, as the reader may see them."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import msgspec
from django.http import QueryDict

from events.log_reader import LogEntry
from events.properties import visible
from events.schemas import StreamedEvent
from ilara_admin.web.access import environment_url, sees_personal
from ilara_admin.web.htmx import HtmxHttpRequest
from players.models import Player


def rows_of(request: HtmxHttpRequest, found: list[LogEntry]) -> list[dict[str, Any]]:
    """For events/_rows.html."""
    names = external_ids(entry.event.player_id for entry in found)
    return [
        {
            "id": entry.id,
            "event": entry.event,
            "properties": bytes(shown(request, entry.event).properties).decode(),
            "player": names.get(entry.event.player_id, str(entry.event.player_id)),
            "player_url": environment_url(request, "player_detail", entry.event.player_id),
            "url": _event_url(request, entry),
        }
        for entry in found
    ]


def shown(request: HtmxHttpRequest, event: StreamedEvent) -> StreamedEvent:
    """The event with its personal properties masked, unless the user may see them."""
    if sees_personal(request):
        return event
    return masked_event(event, request.environment.personal_properties)


def masked_event(event: StreamedEvent, personal: Collection[str]) -> StreamedEvent:
    properties = msgspec.Raw(visible(event.properties, personal))
    return msgspec.structs.replace(event, properties=properties)


def _event_url(request: HtmxHttpRequest, entry: LogEntry) -> str:
    query = QueryDict(mutable=True)
    query["at"] = entry.event.received_at.isoformat()
    return f"{environment_url(request, 'event_detail', entry.id)}?{query.urlencode()}"


def external_ids(player_ids: Iterable[UUID]) -> dict[UUID, str]:
    """The external ids of registered players, by id."""
    found = Player.objects.filter(pk__in=set(player_ids)).values_list("id", "external_id")
    return dict(found)
