"""Audit entries as text: a sentence, a link to the object, and the differences."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone

from ilara_admin.core.changes import why_not_undoable
from ilara_admin.core.diff import Change, differences, has_words
from ilara_admin.models import AuditAction, AuditEntry
from ilara_admin.pages.audit_masks import readable_entries
from ilara_admin.pages.audit_search import COMMAND
from ilara_admin.web.access import environment_url
from ilara_admin.web.confirm import undo_url_of
from ilara_admin.web.htmx import HtmxHttpRequest

VERBS = {
    AuditAction.PROJECT_CREATED: "created the project",
    AuditAction.PROJECT_UPDATED: "changed the project",
    AuditAction.ENVIRONMENT_CREATED: "created the environment",
    AuditAction.ENVIRONMENT_UPDATED: "changed the environment",
    AuditAction.ENVIRONMENT_EVENTS_EXPORTED: "exported events of the environment",
    AuditAction.ENVIRONMENT_PLAYERS_EXPORTED: "exported players of the environment",
    AuditAction.ENVIRONMENT_AUDIT_EXPORTED: "exported the audit log of the environment",
    AuditAction.API_KEY_CREATED: "issued the API key",
    AuditAction.API_KEY_UPDATED: "changed the API key",
    AuditAction.API_KEY_ROTATED: "rotated the API key",
    AuditAction.API_KEY_REVOKED: "revoked the API key",
    AuditAction.STAFF_CREATED: "added the staff account",
    AuditAction.STAFF_UPDATED: "changed the staff account",
    AuditAction.STAFF_FACTOR_ADDED: "added a second factor to the staff account",
    AuditAction.STAFF_FACTOR_REMOVED: "removed a second factor of the staff account",
    AuditAction.STAFF_RECOVERY_CODES_MADE: "made new recovery codes of the staff account",
    AuditAction.STAFF_RECOVERY_CODE_USED: "used a recovery code of the staff account",
    AuditAction.STAFF_SESSIONS_ENDED: "ended sessions of the staff account",
    AuditAction.STAFF_INVITED: "created an invite for",
    AuditAction.STAFF_INVITE_ACCEPTED: "accepted the invite for",
    AuditAction.STAFF_INVITE_REVOKED: "revoked the invite for",
    AuditAction.STAFF_RESET_LINK_CREATED: "created a link to reset the password of",
    AuditAction.STAFF_MEMBERSHIP_CHANGED: "changed the role of the member",
    AuditAction.STAFF_OPENID_CONNECTED: "connected the OpenID provider to the account",
    AuditAction.STAFF_OPENID_DISCONNECTED: "disconnected the OpenID provider from the account",
    AuditAction.FLAG_CREATED: "created the flag",
    AuditAction.FLAG_DELETED: "deleted the flag",
    AuditAction.FLAG_UPDATED: "changed the flag",
    AuditAction.FLAG_ENABLED: "turned on the flag",
    AuditAction.FLAG_DISABLED: "turned off the flag",
    AuditAction.FLAG_ARCHIVED: "archived the flag",
    AuditAction.FLAG_UNARCHIVED: "unarchived the flag",
    AuditAction.FLAG_ARCHIVE_SCHEDULED: "set a date to archive the flag",
    AuditAction.FLAG_ARCHIVE_CANCELLED: "removed the date to archive the flag",
    AuditAction.FLAG_RESTORED: "restored an earlier revision of the flag",
    AuditAction.FLAG_OVERRIDDEN: "set a player's override of the flag",
    AuditAction.FLAG_OVERRIDE_REMOVED: "removed a player's override of the flag",
    AuditAction.FLAG_OVERRIDES_REPLACED: "replaced the overrides of the flag",
    AuditAction.SEGMENT_CREATED: "created the segment",
    AuditAction.SEGMENT_UPDATED: "changed the segment",
    AuditAction.SEGMENT_DELETED: "deleted the segment",
    AuditAction.SEGMENT_LIST_CHANGED: "changed a list of the segment",
    AuditAction.SEGMENT_LIST_EXPORTED: "exported a list of the segment",
    AuditAction.PLAYER_UPDATED: "changed the player",
    AuditAction.PLAYER_PURCHASE_REFUNDED: "refunded a purchase of the player",
    AuditAction.PLAYER_REFUND_REVERSED: "reversed a refund of the player",
    AuditAction.PLAYER_ALIAS_LINKED: "linked another id to the player",
    AuditAction.PLAYER_ALIAS_UNLINKED: "unlinked an id from the player",
    AuditAction.PLAYER_NOTE_ADDED: "added a note about the player",
    AuditAction.PLAYER_NOTE_DELETED: "deleted a note about the player",
    AuditAction.PLAYER_DATA_SEEN: "saw personal data of the player",
    AuditAction.PLAYER_EXPORTED: "exported the data of the player",
    AuditAction.PLAYER_ERASED: "erased the player",
    AuditAction.EVENT_NAME_DESCRIBED: "described the event",
    AuditAction.FREEZE_WINDOW_CREATED: "planned the freeze",
    AuditAction.FREEZE_WINDOW_UPDATED: "changed the freeze",
    AuditAction.FREEZE_WINDOW_DELETED: "deleted the freeze",
    AuditAction.CHANGE_REQUEST_OPENED: "opened the change request",
    AuditAction.CHANGE_REQUEST_EDITED: "edited the change request",
    AuditAction.CHANGE_REQUEST_APPROVED: "approved the change request",
    AuditAction.CHANGE_REQUEST_REFUSED: "requested changes of the change request",
    AuditAction.CHANGE_REQUEST_WITHDRAWN: "withdrew the change request",
    AuditAction.CHANNEL_CREATED: "added the channel",
    AuditAction.CHANNEL_UPDATED: "changed the channel",
    AuditAction.CHANNEL_DELETED: "removed the channel",
    AuditAction.EXPERIMENT_CREATED: "created the experiment",
    AuditAction.EXPERIMENT_UPDATED: "changed the experiment",
    AuditAction.EXPERIMENT_STARTED: "started the experiment",
    AuditAction.EXPERIMENT_STOPPED: "stopped the experiment",
    AuditAction.EXPERIMENT_DECIDED: "decided the experiment",
    AuditAction.EXPERIMENT_DELETED: "deleted the experiment",
    AuditAction.EXPERIMENT_BREACHED: "found a guard metric breached in the experiment",
    AuditAction.EXPERIMENT_GROUP_CREATED: "created the experiment group",
    AuditAction.EXPERIMENT_GROUP_UPDATED: "changed the experiment group",
    AuditAction.EXPERIMENT_GROUP_DELETED: "deleted the experiment group",
    AuditAction.METRIC_CREATED: "created the metric",
    AuditAction.METRIC_UPDATED: "changed the metric",
    AuditAction.METRIC_ARCHIVED: "archived the metric",
    AuditAction.METRIC_UNARCHIVED: "unarchived the metric",
    AuditAction.METRIC_DELETED: "deleted the metric",
}
OBJECT_PAGES = {
    "flag": "flag_detail",
    "segment": "segment_detail",
    "experiment": "experiment_detail",
    "metric": "metric_detail",
    "player": "player_detail",
    "event_name": "event_name",
    "staff": "staff_member",
    "change_request": "request_detail",
}
SECTION_PAGES = {
    "api_key": "key_list",
    "environment": "environment_settings",
    "project": "environment_settings",
    "freeze_window": "environment_settings",
    "channel": "channel_list",
    "experiment_group": "group_list",
}
OF_INVITES = (AuditAction.STAFF_INVITED, AuditAction.STAFF_INVITE_REVOKED)
GONE = (
    AuditAction.PLAYER_ERASED,
    AuditAction.FLAG_DELETED,
    AuditAction.SEGMENT_DELETED,
    AuditAction.CHANNEL_DELETED,
    AuditAction.EXPERIMENT_DELETED,
    AuditAction.EXPERIMENT_GROUP_DELETED,
    AuditAction.METRIC_DELETED,
)
NOUNS = {
    "event_name": "event",
    "experiment_group": "experiment group",
    "api_key": "API key",
    "staff": "staff account",
    "freeze_window": "freeze",
    "change_request": "change request",
}
SENTENCES = 240  # two sentences, before and after, have so many characters
SEEN = (AuditAction.PLAYER_DATA_SEEN,)
EXPORTS = tuple(action for action in AuditAction if action.endswith("exported"))
CHANGES = tuple(action for action in AuditAction if action not in {*SEEN, *EXPORTS})


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry. `url` leads to what was changed, if that has a page, `log_url` to its history.
    `undo_url` is "" unless the reader may undo the entry; `permanent` says why no one can."""

    entry: AuditEntry
    verb: str
    url: str
    log_url: str
    undo_url: str
    permanent: str
    changes: list[Change]

    @property
    def actor_kind(self) -> str:
        return kind_of_actor(self.entry)

    @property
    def kind(self) -> str:
        return NOUNS.get(self.entry.object_type, self.entry.object_type)

    @property
    def in_words(self) -> bool:
        """Whether the labels of the differences are words, not names of fields."""
        return has_words(self.entry.object_type)

    @property
    def short(self) -> list[Change]:
        """The differences, if they add to the sentence and are short."""
        adding = (
            ".updated",
            ".described",
            "linked",
            ".factor_added",
            ".archive_scheduled",
            ".restored",
            "overridden",
            "_removed",
            ".membership_changed",
        )
        if not self.entry.action.endswith((*adding, ".list_changed")) or (
            len(self.changes) > (4 if self.in_words else 2)
        ):
            return []
        most = SENTENCES if self.in_words else 60
        brief = all(len(change.before) + len(change.after) <= most for change in self.changes)
        return self.changes if brief else []


def audit_lines(request: HtmxHttpRequest, entries: Iterable[AuditEntry]) -> list[AuditLine]:
    """Entries as this user may see them: personal data only for support and above."""
    log_url = environment_url(request, "audit_list")
    return [
        AuditLine(
            entry,
            verb_of(entry),
            page_of(request, entry),
            f"{log_url}?{urlencode({'object': f'{entry.object_type}:{entry.object_id}'})}",
            undo_url_of(request, entry),
            why_not_undoable(entry),
            entry_changes(entry, entry.before, entry.after),
        )
        for entry in readable_entries(request, entries)
    ]


def kind_of_actor(entry: AuditEntry) -> str:
    if entry.actor_key_id:
        return "API key"
    return "Command" if entry.actor_name.startswith(COMMAND) else "Staff"


def verb_of(entry: AuditEntry) -> str:
    return VERBS[AuditAction(entry.action)]


def page_of(request: HtmxHttpRequest, entry: AuditEntry) -> str:
    """The page of what was changed, "" if it has none."""
    if entry.action in GONE:
        return ""
    if entry.action in (AuditAction.SEGMENT_LIST_CHANGED, AuditAction.SEGMENT_LIST_EXPORTED):
        excluded = (entry.after or {}).get("list") == "excluded"
        return (
            environment_url(request, "segment_lists", entry.object_id) + "?list=exclude" * excluded
        )
    if entry.action in OF_INVITES:
        return environment_url(request, "staff_list")
    if name := SECTION_PAGES.get(entry.object_type):
        return environment_url(request, name)
    return environment_url(request, OBJECT_PAGES[entry.object_type], entry.object_id)


def entry_changes(
    entry: AuditEntry, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[Change]:
    """A change from some fields of an entry to others, in the words of the object's page as they
    read when it was made."""
    at = timezone.localtime(entry.created_at)
    return differences(dict(before or {}), dict(after or {}), entry.object_type, at=at)
