"""Change requests that are not closed: about an object, or waiting for an account."""

from django.db.models import Q

from ilara_admin.models import (
    AuditAction,
    ChangeRequest,
    ChangeRequestState,
    Environment,
    User,
)

NOT_CLOSED = (ChangeRequestState.OPEN, ChangeRequestState.APPROVED, ChangeRequestState.REFUSED)
SHOWN = 5  # in a notice


def about(object_type: str, object_id: str) -> Q:
    """Requests with a change of this object."""
    actions = [action for action in AuditAction if action.partition(".")[0] == object_type]
    found = Q(pk__in=())
    for action in actions:
        found |= Q(items__contains=[{"action": action, "object_id": object_id}])
    return found


def waits_for(user: User, *, may_approve: bool) -> Q:
    """Requests that this account can approve, and its own that it can apply or must edit."""
    own = Q(state__in=[ChangeRequestState.APPROVED, ChangeRequestState.REFUSED], author=user)
    if not may_approve:
        return own
    return own | (Q(state=ChangeRequestState.OPEN) & ~Q(writers__contains=user.pk))


def open_about(environment: Environment, object_type: str, object_id: str) -> list[ChangeRequest]:
    """The newest open requests about an object, one more than SHOWN if there are more."""
    return _newest(environment, about(object_type, object_id))


def waiting_for(environment: Environment, user: User, *, may_approve: bool) -> list[ChangeRequest]:
    """The newest requests that wait for this account, one more than SHOWN if there are more."""
    return _newest(environment, waits_for(user, may_approve=may_approve))


def _newest(environment: Environment, wanted: Q) -> list[ChangeRequest]:
    found = ChangeRequest.objects.filter(wanted, environment=environment, state__in=NOT_CLOSED)
    return list(found.only("title", "state", "author_name", "created_at")[: SHOWN + 1])
