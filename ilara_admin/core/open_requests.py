"""Change requests that are not closed: about an object, or waiting for an account."""

from django.db.models import BooleanField, Func, JSONField, Q, Value

from ilara_admin.models import (
    ChangeRequest,
    ChangeRequestState,
    Environment,
    User,
)

NOT_CLOSED = (ChangeRequestState.OPEN, ChangeRequestState.APPROVED, ChangeRequestState.REFUSED)
SHOWN = 5  # in a notice

# The actions of a type of object begin with its name.
_PATH = "$[*] ? (@.object_id == $id && @.action starts with $type)"


def about(object_type: str, object_id: str) -> Q:
    """Requests with a change of this object."""
    names = Value({"id": object_id, "type": f"{object_type}."}, JSONField())
    path = Func(Value(_PATH), template="%(expressions)s::jsonpath")
    exists = {"function": "jsonb_path_exists", "output_field": BooleanField()}
    return Q(Func("items", path, names, **exists))


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
