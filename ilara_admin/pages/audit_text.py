"""The audit log as staff read it: a sentence, what it is about, and what differs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from flags.engine import sentences
from flags.engine.bucketing import weights_of
from flags.engine.document import Rule, Slice, Variant
from ilara_admin.core.percentages import percent
from ilara_admin.models import AuditAction, AuditEntry, Role
from ilara_admin.web.access import environment_url
from ilara_admin.web.confirm import Change
from ilara_admin.web.htmx import HtmxHttpRequest
from players.notes import may_undo
from players.record import mask_device, mask_email
from players.services import UNDOABLE
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe as describe_rule

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
    AuditAction.FLAG_OVERRIDDEN: "set a player's value of the flag",
    AuditAction.FLAG_OVERRIDE_REMOVED: "took back a player's own value of the flag",
    AuditAction.SEGMENT_CREATED: "created the segment",
    AuditAction.SEGMENT_UPDATED: "changed the segment",
    AuditAction.SEGMENT_DELETED: "deleted the segment",
    AuditAction.SEGMENT_LIST_CHANGED: "changed a list of the segment",
    AuditAction.PLAYER_UPDATED: "changed the player",
    AuditAction.PLAYER_PURCHASE_REFUNDED: "refunded a purchase of the player",
    AuditAction.PLAYER_REFUND_REVERSED: "reversed a refund of the player",
    AuditAction.PLAYER_ALIAS_LINKED: "linked another id to the player",
    AuditAction.PLAYER_ALIAS_UNLINKED: "unlinked an id from the player",
    AuditAction.PLAYER_NOTE_ADDED: "wrote a note about the player",
    AuditAction.PLAYER_NOTE_DELETED: "deleted a note about the player",
    AuditAction.PLAYER_ERASED: "erased the player",
    AuditAction.EVENT_NAME_DESCRIBED: "described the event",
}
# What undoing needs and nobody reads.
FOR_UNDOING = {"note_id", "author_id", "written_at"}
PERSONAL = {"email": mask_email, "device_id": mask_device}


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry. `url` leads to what was changed, if that has a page, `log_url` to its history;
    `undo_url` is posted to, "" where nothing can be undone from here."""

    entry: AuditEntry
    verb: str
    url: str
    log_url: str
    undo_url: str
    changes: list[Change]

    @property
    def short(self) -> list[Change]:
        """The difference where it says more than the sentence and is over in a glance."""
        telling = (".updated", ".described", "linked")
        if not self.entry.action.endswith(telling) or len(self.changes) > 2:
            return []
        brief = all(len(change.before) + len(change.after) <= 60 for change in self.changes)
        return self.changes if brief else []


def audit_lines(request: HtmxHttpRequest, entries: Iterable[AuditEntry]) -> list[AuditLine]:
    """Entries as whoever asks may read them: personal data only from support upwards."""
    masks = not request.user.may(Role.SUPPORT)
    log_url = environment_url(request, "audit_list")
    return [
        AuditLine(
            entry,
            VERBS.get(AuditAction(entry.action), AuditAction(entry.action).label),
            _page_of(request, entry),
            f"{log_url}?{urlencode({'object': f'{entry.object_type}:{entry.object_id}'})}",
            "" if masks else _undo_of(request, entry),
            differences(_readable(entry.before, masks), _readable(entry.after, masks)),
        )
        for entry in entries
    ]


def _page_of(request: HtmxHttpRequest, entry: AuditEntry) -> str:
    if entry.action in (AuditAction.SEGMENT_DELETED, AuditAction.PLAYER_ERASED):
        return ""
    if entry.action == AuditAction.SEGMENT_LIST_CHANGED:
        return environment_url(request, "segment_lists", entry.object_id)
    match entry.object_type:
        case "flag":
            return environment_url(request, "flag_detail", entry.object_id)
        case "segment":
            return environment_url(request, "segment_detail", entry.object_id)
        case "player":
            return environment_url(request, "player_detail", entry.object_id)
        case "event_name":
            return environment_url(request, "event_name", entry.object_id)
        case "api_key":
            return environment_url(request, "key_list")
    return ""


def _undo_of(request: HtmxHttpRequest, entry: AuditEntry) -> str:
    erased = entry.before is None and entry.after is None
    if entry.action not in UNDOABLE or erased or not may_undo(request.user, entry):
        return ""
    return environment_url(request, "player_undo", entry.object_id, entry.pk)


def _readable(side: dict[str, Any] | None, masks: bool) -> dict[str, Any]:
    return {
        name: PERSONAL[name](value) if masks and name in PERSONAL else value
        for name, value in (side or {}).items()
        if name not in FOR_UNDOING
    }


# --- Differences --------------------------------------------------------------------------------


def differences(before: Any, after: Any) -> list[Change]:
    """What differs between two documents, leaf by leaf, named like `rules.beta.rollout`.

    A side is "" where there is nothing; an empty text is “”.
    """
    return list(_walk((), before, after))


type _Path = tuple[str, ...]


def _walk(path: _Path, before: Any, after: Any) -> Iterator[Change]:
    left, right = _named(before), _named(after)
    # A list that comes or goes is told item by item, any other part as a whole.
    left = {} if left is None and before is None and isinstance(after, list) else left
    right = {} if right is None and after is None and isinstance(before, list) else right
    if left is None or right is None:
        if type(before) is not type(after) or before != after:
            yield Change(".".join(path), _label(path, before), _label(path, after))
        return
    for name in {**left, **right}:
        yield from _walk((*path, name), left.get(name), right.get(name))
    order = [
        [name for name in one if name in other] for one, other in ((left, right), (right, left))
    ]
    if order[0] != order[1] and isinstance(before, list):
        yield Change(f"{'.'.join(path)}, order", *(", ".join(names) for names in order))


def _named(value: Any) -> dict[str, Any] | None:
    """The parts of a document by name: of an object, or of a list whose items have ids or keys."""
    if isinstance(value, dict):
        return None if value.keys() == {"operator", "conditions"} else value
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        for name in ("id", "key"):
            names = [item.get(name) for item in value]
            if all(isinstance(each, str) for each in names) and len(set(names)) == len(names):
                return dict(zip(names, value, strict=True))
    return None


def _label(path: _Path, value: Any) -> str:
    """A part of a document as staff call it, or its JSON."""
    if value is None:
        return ""
    inside, name = ("", "", *path)[-2:]
    # Where "1" and 1 are both possible, text is in quotes.
    if isinstance(value, str) and name != "value" and path[0] != "attributes":
        return value or "“”"
    try:
        if name == "rollout":
            return percent(msgspec.convert(value, int))
        if name == "split":
            weights = weights_of(msgspec.convert(value, tuple[Slice, ...]))
            return ", ".join(f"{variant} {percent(weight)}" for variant, weight in weights.items())
        if inside == "rules":
            return sentences.sentence(msgspec.convert(value, Rule))
        if inside == "variants":
            return sentences.value_text(msgspec.convert(value, Variant).value)
        if name in ("rule", "conditions"):
            return describe_rule(parse(value))
    except (msgspec.ValidationError, RuleError):
        pass  # a part of another shape that happens to have this name
    return json.dumps(value, ensure_ascii=False)
