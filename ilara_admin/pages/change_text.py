"""Change requests as text: what each of their changes does, what they need next, their history."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from ilara_admin.core.change_requests import items_of, needed_role, why_not_apply
from ilara_admin.core.diff import Change, has_words
from ilara_admin.core.guard import ChangeItem
from ilara_admin.core.text import isolated
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    ChangeRequest,
    ChangeRequestState,
    Role,
    Verdict,
)
from ilara_admin.pages.audit_masks import readable_entries
from ilara_admin.pages.audit_text import NOUNS, VERBS, entry_changes, page_of
from ilara_admin.web.access import may
from ilara_admin.web.htmx import HtmxHttpRequest

# The first word of VERBS, of what is yet to happen.
INFINITIVES = {
    "added": "add", "archived": "archive", "changed": "change", "created": "create",
    "deleted": "delete", "issued": "issue", "removed": "remove", "replaced": "replace",
    "restored": "restore", "revoked": "revoke", "rotated": "rotate", "turned": "turn",
    "unarchived": "unarchive",
}  # fmt: skip
SAID = {
    Verdict.APPROVE: "approved version {}",
    Verdict.REFUSE: "asked for changes of version {}",
    Verdict.COMMENT: "commented on version {}",
}
TONES = {
    ChangeRequestState.OPEN: "warn",
    ChangeRequestState.APPROVED: "ok",
    ChangeRequestState.REFUSED: "danger",
}
NAMES = {ChangeRequestState.OPEN: "Needs approval"}


def state_name(state: ChangeRequestState) -> str:
    return NAMES.get(state, state.label)


@dataclass(frozen=True, slots=True)
class ItemText:
    """A change of a request, as this user may see it. `number` counts from 1; `url` leads to what
    it changes, if that exists."""

    number: int
    item: ChangeItem
    entry: AuditEntry  # as the audit log will have it; not stored
    url: str
    changes: list[Change]

    @property
    def verb(self) -> str:
        """`Turn on the flag`."""
        first, _, rest = VERBS[AuditAction(self.entry.action)].partition(" ")
        return f"{INFINITIVES.get(first, first).capitalize()} {rest}"

    @property
    def kind(self) -> str:
        return NOUNS.get(self.entry.object_type, self.entry.object_type)

    @property
    def in_words(self) -> bool:
        return has_words(self.entry.object_type)

    @property
    def shows_impact(self) -> bool:
        """Whether it may switch players."""
        return self.item.object_type == "flag" and self.item.whole is not None

    @property
    def title(self) -> str:
        return f"{self.verb} {isolated(self.entry.object_name)}"


def request_items(
    request: HtmxHttpRequest, rows: Iterable[ChangeRequest], *, most: int | None = None
) -> list[list[ItemText]]:
    """The changes of each request, at most `most` of each. Masks personal data in one go."""
    found = [(row, list(islice(items_of(row), most))) for row in rows]
    entries = iter(
        readable_entries(request, [_entry(row, item) for row, items in found for item in items])
    )
    return [
        [
            _text(request, row, number, item, next(entries))
            for number, item in enumerate(items, start=1)
        ]
        for row, items in found
    ]


def _entry(row: ChangeRequest, item: ChangeItem) -> AuditEntry:
    return AuditEntry(
        action=item.action,
        object_type=item.object_type,
        object_id=item.object_id,
        object_name=item.object_name,
        before=item.before,
        after=item.after,
        created_at=row.edited_at,
    )


def _text(
    request: HtmxHttpRequest, row: ChangeRequest, number: int, item: ChangeItem, entry: AuditEntry
) -> ItemText:
    is_there = bool(entry.object_id) and (entry.before is not None or row.is_closed)
    url = page_of(request, entry) if is_there else ""
    return ItemText(number, item, entry, url, entry_changes(entry, entry.before, entry.after))


def next_step(request: HtmxHttpRequest, row: ChangeRequest) -> str:
    """What a request needs next, as a sentence."""
    state = ChangeRequestState(row.state)
    # An approval is void when its author has lost the role.
    is_void = state is ChangeRequestState.APPROVED and bool(why_not_apply(row))
    if state is ChangeRequestState.OPEN or is_void:
        if request.user.pk not in row.writers and may(request, Role.LIVE_OPS):
            return "Needs one approval, which you can give."
        role = Role.LIVE_OPS.label.lower()
        return f"Needs one approval by someone else with the role {role} or above."
    if state is ChangeRequestState.APPROVED:
        role = needed_role(row).label.lower()
        return f"Approved. Anyone with the role {role} or above can apply it."
    if state is ChangeRequestState.REFUSED:
        return "Changes were requested. It can be approved once its author edits it."
    return f"{state.label} by {isolated(row.closed_by_name)}."


# --- The history ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """`is_old`: it is about an earlier version than the present one."""

    name: str
    text: str
    at: datetime
    comment: str = ""
    is_old: bool = False


WRITTEN = {
    AuditAction.CHANGE_REQUEST_OPENED: "opened the request",
    AuditAction.CHANGE_REQUEST_EDITED: "edited it: version {}",
    AuditAction.CHANGE_REQUEST_WITHDRAWN: "withdrew the request",
}


def history_of(row: ChangeRequest) -> Sequence[HistoryLine]:
    """Versions, approvals and comments, oldest first."""
    written = AuditEntry.objects.filter(
        object_type="change_request", object_id=str(row.pk), action__in=WRITTEN
    )
    lines = [
        HistoryLine(
            entry.actor_name,
            WRITTEN[AuditAction(entry.action)].format((entry.after or {}).get("version", 1)),
            entry.created_at,
            entry.reason,
        )
        for entry in written
    ]
    lines += [
        HistoryLine(
            each.user_name,
            SAID[Verdict(each.verdict)].format(each.version),
            each.created_at,
            each.comment,
            is_old=each.version != row.version,
        )
        for each in row.approvals.all()
    ]
    if row.state == ChangeRequestState.APPLIED and row.closed_at:
        text = f"applied version {row.version}"
        lines.append(HistoryLine(row.closed_by_name, text, row.closed_at))
    return sorted(lines, key=lambda line: line.at)
