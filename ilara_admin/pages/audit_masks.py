"""Audit entries as the reader's role may see them: personal data only from the role support up.

An external id in an entry, such as that of a player in a list of a segment, is personal if it is
linked to another player. Reasons and notes are texts of staff and stay as they are.
"""

from collections.abc import Collection, Iterable, Iterator
from copy import copy
from typing import Any

from ilara_admin.models import AuditEntry, Environment
from ilara_admin.web.access import sees_personal
from ilara_admin.web.htmx import HtmxHttpRequest
from players.aliases import linked_among
from players.personal import mask_device, mask_email, mask_text, masked

# The fields with external ids: of an override, of a list, of a link, of the filters of an export.
NAMES = ("player", "ids", "alias", "object")


def readable_entries(request: HtmxHttpRequest, entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Copies without personal data, or the entries themselves for those who may see it."""
    found = list(entries)
    return found if sees_personal(request) else without_personal(request.environment, found)


def without_personal(environment: Environment, entries: Collection[AuditEntry]) -> list[AuditEntry]:
    names = {name for entry in entries for name in _names_of(entry)}
    linked = linked_among(environment, names) if names else set()
    return [_masked(entry, environment.personal_attributes, linked) for entry in entries]


def _names_of(entry: AuditEntry) -> Iterator[str]:
    if entry.object_type == "player":
        yield entry.object_name
    for side in (entry.before, entry.after):
        yield from _named(side)


def _named(value: Any) -> Iterator[str]:
    """The texts in NAMES, at any depth."""
    for name, part in value.items() if isinstance(value, dict) else ():
        texts = part if isinstance(part, list) else [part]
        if name in NAMES:
            yield from (_external_id(each) for each in texts if isinstance(each, str))
        for each in texts:
            yield from _named(each)


def _external_id(text: str) -> str:
    """`player_1` of `player:player_1`, as the filter of the audit log has it."""
    return text.removeprefix("player:")


def _masked(entry: AuditEntry, personal: Collection[str], linked: Collection[str]) -> AuditEntry:
    found = copy(entry)
    if entry.object_type == "player" and entry.object_name in linked:
        found.object_name = mask_text(entry.object_name)
    for name in ("before", "after"):
        side = getattr(entry, name)
        if isinstance(side, dict):
            side = _without_linked(side, linked)
            if entry.object_type == "player":
                side = _without_fields(side, personal)
        setattr(found, name, side)
    return found


def _without_linked(value: Any, linked: Collection[str], *, is_name: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_linked(part, linked, is_name=name in NAMES)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_without_linked(each, linked, is_name=is_name) for each in value]
    if is_name and isinstance(value, str) and _external_id(value) in linked:
        return mask_text(_external_id(value))
    return value


def _without_fields(side: dict[str, Any], personal: Collection[str]) -> dict[str, Any]:
    """The fields of a player or of a link, which stays personal when it is removed."""
    masks = {"email": mask_email, "device_id": mask_device, "alias": mask_text}
    found: dict[str, Any] = {
        name: masks[name](value) if name in masks and isinstance(value, str) else value
        for name, value in side.items()
        if name != "_rows"  # moved to the player with a link, by the linked id
    }
    if isinstance(found.get("attributes"), dict):
        found["attributes"] = masked(found["attributes"], personal)
    return found
