"""The audit log as staff read it: a sentence, what it is about, and what differs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ilara_admin.confirm import Change
from ilara_admin.htmx import HtmxHttpRequest
from ilara_admin.models import AuditAction, AuditEntry, Role
from ilara_admin.scope import link
from ilara_admin.templatetags.ilara import ABSENT, percent
from players.record import mask_device, mask_email

VERBS = {
    AuditAction.PROJECT_CREATED: "created the project",
    AuditAction.PROJECT_UPDATED: "changed the project",
    AuditAction.ENVIRONMENT_CREATED: "created the environment",
    AuditAction.ENVIRONMENT_UPDATED: "changed the environment",
    AuditAction.API_KEY_CREATED: "issued the API key",
    AuditAction.API_KEY_ROTATED: "rotated the API key",
    AuditAction.API_KEY_REVOKED: "revoked the API key",
    AuditAction.STAFF_CREATED: "added the member of staff",
    AuditAction.STAFF_UPDATED: "changed the member of staff",
    AuditAction.FLAG_CREATED: "created the flag",
    AuditAction.FLAG_UPDATED: "changed the flag",
    AuditAction.FLAG_ENABLED: "turned on the flag",
    AuditAction.FLAG_DISABLED: "turned off the flag",
    AuditAction.FLAG_ARCHIVED: "archived the flag",
    AuditAction.FLAG_UNARCHIVED: "brought back the flag",
    AuditAction.FLAG_RESTORED: "restored an earlier revision of the flag",
    AuditAction.SEGMENT_CREATED: "created the segment",
    AuditAction.SEGMENT_UPDATED: "changed the segment",
    AuditAction.SEGMENT_DELETED: "deleted the segment",
    AuditAction.PLAYER_UPDATED: "changed the player",
}
PERSONAL = {"email": mask_email, "device_id": mask_device}
PERCENTAGES = frozenset({"rollout"})


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. `url` leads to what was changed, if it has a page; `log_url` to all its entries.

    `kind` is "created" or "deleted" when one side of the difference is missing altogether.
    """

    entry: AuditEntry
    verb: str
    url: str
    log_url: str
    changes: list[Change]
    kind: str

    @property
    def short(self) -> list[Change]:
        """The difference where it says more than the sentence and is over in a glance."""
        if not self.entry.action.endswith(".updated") or len(self.changes) > 2:
            return []
        brief = all(len(change.before) + len(change.after) <= 60 for change in self.changes)
        return self.changes if brief else []


def lines(request: HtmxHttpRequest, entries: Iterable[AuditEntry]) -> list[Line]:
    """Entries as whoever asks may read them: personal data only from support upwards."""
    masks = not request.user.may(Role.SUPPORT)
    log_url = link(request, "audit_list")
    return [
        Line(
            entry,
            VERBS.get(AuditAction(entry.action), entry.get_action_display()),
            _page_of(request, entry),
            f"{log_url}?{urlencode({'object': f'{entry.object_type}:{entry.object_id}'})}",
            differences(_readable(entry.before, masks), _readable(entry.after, masks)),
            "created" if not entry.before else "deleted" if not entry.after else "",
        )
        for entry in entries
    ]


def _page_of(request: HtmxHttpRequest, entry: AuditEntry) -> str:
    if entry.action == AuditAction.SEGMENT_DELETED:
        return ""
    match entry.object_type:
        case "flag":
            return link(request, "flag_detail", entry.object_id)
        case "segment":
            return link(request, "segment_detail", entry.object_id)
        case "player":
            return link(request, "player_detail", entry.object_id)
        case "api_key":
            return link(request, "overview") + "keys/"
    return ""


def _readable(side: dict[str, Any] | None, masks: bool) -> dict[str, Any]:
    return {
        name: PERSONAL[name](value) if masks and name in PERSONAL else value
        for name, value in (side or {}).items()
    }


# --- Differences --------------------------------------------------------------------------------


def differences(before: Any, after: Any) -> list[Change]:
    """What differs between two documents, leaf by leaf, named like `rules.beta.rollout`."""
    return list(_walk("", before, after))


_ABSENT = object()


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    left, right = _named(before), _named(after)
    if left is None or right is None:
        if type(before) is not type(after) or before != after:
            yield Change(path, _text(path, before), _text(path, after))
        return
    for name in {**left, **right}:
        old, new = left.get(name, _ABSENT), right.get(name, _ABSENT)
        # A whole part that came or went is one change, at the top as well as further down.
        place = f"{path}.{name}" if path else str(name)
        yield from _walk(place, old, new)
    kept = [name for name in left if name in right]
    if path and kept != [name for name in right if name in left] and isinstance(before, list):
        yield Change(f"{path}, order", ", ".join(map(str, left)), ", ".join(map(str, right)))


def _named(value: Any) -> dict[str, Any] | None:
    """The parts of a document by name: of an object, or of a list whose items have ids or keys."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for name in ("id", "key"):
            names = [item.get(name) for item in value]
            if all(isinstance(each, str) for each in names) and len(set(names)) == len(names):
                return dict(zip(names, value, strict=True))
    return {} if value == [] else None


def _text(path: str, value: Any) -> str:
    if value is _ABSENT or value is None:
        return ABSENT
    if isinstance(value, str):
        return value or "“”"
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and path.rpartition(".")[2] in PERCENTAGES:
        return percent(value)
    return json.dumps(value, ensure_ascii=False)
