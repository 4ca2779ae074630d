"""Changes that wait for a second person. The states are those of core/review.py.

A request holds the items that the audit log would have recorded. Applying one makes these changes
with the usual services, and `audit_record` refuses whatever is not the next approved item.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from ilara_admin.core import review
from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Conflict,
    perform_of,
    register_permanent,
    whole_now,
)
from ilara_admin.core.diff import differences
from ilara_admin.core.guard import (
    ApprovedChange,
    ChangeItem,
    NotApprovedError,
    fingerprint,
    whole_before,
)
from ilara_admin.core.notifications import members, notify, register_kind
from ilara_admin.core.review import Review, ReviewRefusedError, ReviewState
from ilara_admin.models import (
    AuditAction,
    AuditEntry,
    ChangeApproval,
    ChangeRequest,
    Environment,
    Role,
    User,
    Verdict,
)

MAX_COMMENT = 1000
MAX_ITEMS = 200
VERBS = {
    "flag.created": "Create",
    "flag.enabled": "Turn on",
    "flag.unarchived": "Unarchive",
    "segment.created": "Create",
    "segment.deleted": "Delete",
    "api_key.created": "Issue the key",
    "api_key.rotated": "Rotate the key",
    "api_key.revoked": "Revoke the key",
    "freeze_window.deleted": "Delete the freeze of",
}

WAITING, REVIEWED = "request_waiting", "request_reviewed"
register_kind(
    WAITING,
    "Requests waiting for you",
    "Someone else asks for a review of a change, or edited it.",
    role=Role.LIVE_OPS,
)
register_kind(
    REVIEWED,
    "Reviews of your requests",
    "A change request of yours was approved, or changes of it were requested.",
)


@dataclass(frozen=True, slots=True)
class Applied:
    """`made` is what the services returned that made the changes; it may hold a new key's token."""

    request: ChangeRequest
    entries: list[AuditEntry]
    made: list[object]


def items_of(request: ChangeRequest) -> list[ChangeItem]:
    return [ChangeItem(**item) for item in request.items]


def review_of(request: ChangeRequest) -> Review:
    """The state. Only approvals of this version and this content count, by members who still have
    the role for it."""
    approvals = ChangeApproval.objects.filter(
        request=request,
        version=request.version,
        fingerprint=request.fingerprint,
        verdict=Verdict.APPROVE,
        user__in=members(request.environment.project_id, Role.LIVE_OPS),
    )
    return Review(
        ReviewState(request.state),
        request.version,
        request.fingerprint,
        frozenset(request.writers),
        frozenset(approvals.values_list("user_id", flat=True)),
    )


def _locked(request: ChangeRequest) -> ChangeRequest:
    requests = ChangeRequest.objects.select_for_update(of=("self",))
    return requests.select_related("environment__project").get(pk=request.pk)


def _step(step: Callable[..., Review], *arguments: object) -> Review:
    try:
        return step(*arguments)
    except ReviewRefusedError as refusal:
        raise ValidationError(str(refusal)) from None


def _why_not(step: Callable[..., Review], *arguments: object) -> str:
    try:
        step(*arguments)
    except ReviewRefusedError as refusal:
        return str(refusal)
    return ""


def _store(request: ChangeRequest, state: Review, *fields: str) -> None:
    request.state, request.version = state.state, state.version
    request.fingerprint, request.writers = state.fingerprint, sorted(state.writers)
    request.save(update_fields=["state", "version", "fingerprint", "writers", *fields])


def _close(request: ChangeRequest, state: Review, actor: Actor) -> None:
    request.closed_by_name, request.closed_at = actor.name, timezone.now()
    _store(request, state, "closed_by_name", "closed_at")


def _record(
    action: AuditAction, request: ChangeRequest, actor: Actor, reason: str = ""
) -> AuditEntry:
    entry = audit_record(
        action,
        actor,
        environment=request.environment,
        object_id=request.pk,
        object_name=f"{request.pk}: {request.title}",
        after={"version": request.version, "_fingerprint": request.fingerprint},
        reason=reason[:500],
    )
    return entry


def _user_of(actor: Actor) -> User:
    if actor.user is None:
        raise ValidationError("Only members of staff write and review change requests.")
    return actor.user


# --- Writing --------------------------------------------------------------------------------------


@transaction.atomic
def request_submit(
    environment: Environment, items: Sequence[ChangeItem], *, actor: Actor, reason: str = ""
) -> ChangeRequest:
    """Store changes that wait for a second person."""
    check_items(environment, items)
    user = _user_of(actor)
    state = review.submit(user.pk, fingerprint(environment.pk, items))
    request = ChangeRequest.objects.create(
        environment=environment,
        author=user,
        author_name=actor.name,
        title=title_of(items),
        reason=reason,
        items=[item.as_json() for item in items],
        fingerprint=state.fingerprint,
        version=state.version,
        writers=sorted(state.writers),
    )
    _record(AuditAction.CHANGE_REQUEST_OPENED, request, actor, reason)
    _ask_for_review(request, actor)
    return request


@transaction.atomic
def request_edit(
    request: ChangeRequest, items: Sequence[ChangeItem], *, actor: Actor, reason: str = ""
) -> ChangeRequest:
    """Replace the changes of a request. This voids its approvals."""
    request = _locked(request)
    check_items(request.environment, items)
    found = fingerprint(request.environment_id, items)
    state = _step(review.edit, review_of(request), _user_of(actor).pk, found)
    request.items, request.title = [item.as_json() for item in items], title_of(items)
    request.reason, request.edited_at = reason or request.reason, timezone.now()
    _store(request, state, "items", "title", "reason", "edited_at")
    _record(AuditAction.CHANGE_REQUEST_EDITED, request, actor, reason)
    _ask_for_review(request, actor)
    return request


def _ask_for_review(request: ChangeRequest, actor: Actor) -> None:
    notify(
        WAITING,
        request.environment,
        f"{actor.name} asks for a review of request {request.pk}: {request.title}",
        [f"Reason: {request.reason}"] if request.reason else [],
        page="request_detail",
        args=[request.pk],
        actor=actor.user,
        dedupe_key=f"{WAITING}:{request.pk}:{request.version}",
    )


def title_of(items: Sequence[ChangeItem]) -> str:
    first = items[0]
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return f"{VERBS.get(first.action, 'Change')} {first.object_name}"[:180] + more


def check_items(environment: Environment, items: Sequence[ChangeItem]) -> None:
    """Raise ValidationError unless these changes can be applied later."""
    if problem := why_not_requested(environment, items):
        raise ValidationError(problem)


def why_not_requested(environment: Environment, items: Sequence[ChangeItem]) -> str:
    """Why these changes cannot be applied later, as a sentence; "" if they can."""
    if not items:
        return "Nothing would be changed."
    if len(items) > MAX_ITEMS:
        return f"A request has {MAX_ITEMS} changes at most."
    places = _environments(environment)
    for item in items:
        found = perform_of(item)
        if found is None or (item.environment and item.environment not in places):
            return f"{item.object_name}: this cannot wait for a review."
        if problem := found.why_not(item):
            return f"{item.object_name}: {problem}"
    return ""


def open_requests_about(
    items: Iterable[ChangeItem], user: User, environment: Environment
) -> list[ChangeRequest]:
    """This account's requests that are not closed and that change one of these objects."""
    targets = {item.target for item in items}
    mine = ChangeRequest.objects.filter(
        environment__project=environment.project_id,
        author=user,
        state__in=[ReviewState.OPEN, ReviewState.APPROVED, ReviewState.REFUSED],
    ).select_related("environment__project")
    return [each for each in mine if targets & {item.target for item in items_of(each)}]


@transaction.atomic
def request_withdraw(request: ChangeRequest, *, actor: Actor, reason: str = "") -> ChangeRequest:
    request = _locked(request)
    _close(request, _step(review.withdraw, review_of(request), _user_of(actor).pk), actor)
    _record(AuditAction.CHANGE_REQUEST_WITHDRAWN, request, actor, reason)
    return request


# --- Reviewing ------------------------------------------------------------------------------------


@transaction.atomic
def request_approve(
    request: ChangeRequest, *, actor: Actor, fingerprint: str, comment: str = ""
) -> ChangeRequest:
    """Approve the version with this fingerprint, which the person read."""
    request = _locked(request)
    state = _step(review.approve, review_of(request), _user_of(actor).pk, fingerprint)
    _say(request, actor, Verdict.APPROVE, comment)
    _store(request, state)
    entry = _record(AuditAction.CHANGE_REQUEST_APPROVED, request, actor, comment)
    _notify_author(request, actor, "approved", comment, entry)
    return request


@transaction.atomic
def request_refuse(
    request: ChangeRequest, *, actor: Actor, fingerprint: str, comment: str
) -> ChangeRequest:
    """Request changes of the version with this fingerprint: it cannot be applied until edited."""
    if not comment.strip():
        raise ValidationError({"comment": "Say what should change."})
    request = _locked(request)
    state = _step(review.request_changes, review_of(request), _user_of(actor).pk, fingerprint)
    _say(request, actor, Verdict.REFUSE, comment)
    _store(request, state)
    entry = _record(AuditAction.CHANGE_REQUEST_REFUSED, request, actor, comment)
    _notify_author(request, actor, "requested changes of", comment, entry)
    return request


def _notify_author(
    request: ChangeRequest, actor: Actor, verb: str, comment: str, entry: AuditEntry
) -> None:
    if request.author is None:
        return
    notify(
        REVIEWED,
        request.environment,
        f"{actor.name} {verb} request {request.pk}: {request.title}",
        [comment] if comment.strip() else [],
        page="request_detail",
        args=[request.pk],
        only=[request.author],
        actor=actor.user,
        dedupe_key=f"{REVIEWED}:{request.pk}:{entry.pk}",
    )


@transaction.atomic
def request_comment(request: ChangeRequest, *, actor: Actor, comment: str) -> ChangeApproval:
    if not comment.strip():
        raise ValidationError({"comment": "Write a comment."})
    _user_of(actor)
    return _say(_locked(request), actor, Verdict.COMMENT, comment)


def _say(request: ChangeRequest, actor: Actor, verdict: Verdict, comment: str) -> ChangeApproval:
    return ChangeApproval.objects.create(
        request=request,
        user=actor.user,
        user_name=actor.name,
        version=request.version,
        fingerprint=request.fingerprint,
        verdict=verdict,
        comment=comment.replace("\0", "").strip()[:MAX_COMMENT],
    )


def why_not_approve(request: ChangeRequest, user: User) -> str:
    return _why_not(review.approve, review_of(request), user.pk, request.fingerprint)


def why_not_refuse(request: ChangeRequest, user: User) -> str:
    return _why_not(review.request_changes, review_of(request), user.pk, request.fingerprint)


def why_not_withdraw(request: ChangeRequest, user: User) -> str:
    return _why_not(review.withdraw, review_of(request), user.pk)


def why_not_apply(request: ChangeRequest) -> str:
    return _why_not(review.apply, review_of(request), request.fingerprint)


# --- Applying -------------------------------------------------------------------------------------


def needed_role(request: ChangeRequest) -> Role:
    """The role of the person who applies: that of each change, and live-ops at least."""
    roles = {Role.LIVE_OPS}
    for item in items_of(request):
        if found := perform_of(item):
            roles.add(found.role)
    return max(roles, key=lambda role: role.rank)


@transaction.atomic
def request_apply(request: ChangeRequest, *, actor: Actor, fingerprint: str) -> Applied:
    """Make the approved changes, all or none. The actor has needed_role.

    Raises Conflict if something that they change is no longer as it was, ValidationError if the
    request is not approved or a service refuses, and GuardRequired during a freeze.
    """
    _user_of(actor)
    request = _locked(request)
    state = _step(review.apply, review_of(request), fingerprint)
    items = items_of(request)
    _check_stored(request, items)
    approved = ApprovedChange(request.pk, items)
    actor = replace(actor, confirmation=replace(actor.confirmation, approved=approved))
    breaks = actor.confirmation.break_glass and actor.confirmation.reason
    reason = breaks or request.reason or f"Request {request.pk}"
    places = _environments(request.environment)
    _lock_all(items, places, request.environment)
    made = []
    for item in items:
        place = places.get(item.environment or 0, request.environment)
        _check_unchanged(item, place)
        made.append(_make(item, place, actor, reason))
    if approved.done != len(items):
        raise ValidationError("Nothing would be changed. Withdraw the request.")
    _close(request, state, actor)
    return Applied(request, list(request.entries.order_by("id")), made)


def _check_stored(request: ChangeRequest, items: Sequence[ChangeItem]) -> None:
    """The approval is of the fingerprint, so it must be that of what is made."""
    if fingerprint(request.environment_id, items) != request.fingerprint:
        raise ValidationError("The stored changes are not those that were approved.")


def request_conflict(request: ChangeRequest) -> Conflict | None:
    """The conflict that applying the request now would meet. Raises ValidationError if an object
    was deleted."""
    items, places = items_of(request), _environments(request.environment)
    seen = set()
    with transaction.atomic():
        try:
            for item in items:
                # Later changes of an object begin where the first one ends.
                if item.target not in seen:
                    _check_unchanged(item, places.get(item.environment or 0, request.environment))
                seen.add(item.target)
        except Conflict as conflict:
            return conflict
        finally:
            transaction.set_rollback(True)
    return None


def _environments(environment: Environment) -> dict[int, Environment]:
    return {each.pk: each for each in environment.project.environments.select_related("project")}


def _lock_all(
    items: Sequence[ChangeItem], places: dict[int, Environment], default: Environment
) -> None:
    """In one order: each change locks the environment's row last."""
    for item in sorted(items, key=lambda item: (item.object_type, item.object_id)):
        with suppress(ValidationError):  # created by one of the changes
            if found := perform_of(item):
                found.current(item, places.get(item.environment or 0, default))


def _check_unchanged(item: ChangeItem, environment: Environment) -> None:
    """Raise Conflict unless the object is as it was when the change was written."""
    found = perform_of(item)
    if found is None:
        raise ValidationError(f"{item.object_name}: this cannot wait for a review.")
    now = dict(found.current(item, environment))
    expected, present = changed_fields(item.before or {}, now)
    if not expected and not present:
        was = whole_before(item)
        whole = None if was is None else whole_now(item, environment)
        if was is not None and whole is not None:
            expected, present = changed_fields(was, dict(whole))
    if expected or present:
        raise _conflict(item, expected, present, now)


def _conflict(
    item: ChangeItem, expected: dict[str, Any], present: dict[str, Any], now: dict[str, Any]
) -> Conflict:
    at = timezone.localtime()
    return Conflict(
        item.object_type,
        item.object_id,
        item.object_name,
        theirs=differences(expected, present, item.object_type, at=at),
        yours=differences(now or item.before or {}, item.after or {}, item.object_type, at=at),
    )


def _make(item: ChangeItem, environment: Environment, actor: Actor, reason: str) -> object:
    found = perform_of(item)
    assert found
    try:
        return found.make(item, environment, actor, reason)
    except NotApprovedError as error:
        wanted = error.approved or item
        expected, present = changed_fields(
            wanted.whole or wanted.after or {}, error.made.whole or error.made.after or {}
        )
        raise _conflict(error.made, expected, present, {}) from None


register_permanent(
    {
        AuditAction.CHANGE_REQUEST_OPENED: "A request can be withdrawn by its author.",
        AuditAction.CHANGE_REQUEST_EDITED: "A request can be edited again by its author.",
        AuditAction.CHANGE_REQUEST_APPROVED: "Request changes to take an approval back.",
        AuditAction.CHANGE_REQUEST_REFUSED: "An edit by the author opens the request again.",
        AuditAction.CHANGE_REQUEST_WITHDRAWN: "Make the change again to request it.",
    }
)
