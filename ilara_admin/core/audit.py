"""The audit log: the actor of a change and its entry."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ilara_admin.core.json_equality import json_equal
from ilara_admin.models import ApiKey, AuditAction, AuditEntry, Environment, Project, User

# Set during a request, to group the entries of one request.
request_id: ContextVar[str] = ContextVar("request_id", default="")


@dataclass(frozen=True, slots=True)
class Actor:
    """A member of staff, an API key, or the command line."""

    name: str
    user: User | None = None
    key: ApiKey | None = None

    @classmethod
    def of_user(cls, user: User) -> "Actor":
        return cls(user.get_full_name() or user.username, user=user)

    @classmethod
    def of_key(cls, key: ApiKey) -> "Actor":
        return cls(key.name, key=key)

    @classmethod
    def of_command(cls, command: str) -> "Actor":
        return cls(f"manage.py {command}")


def audit_record(
    action: AuditAction,
    actor: Actor,
    *,
    object_id: object,
    object_name: str,
    environment: Environment | None = None,
    project: Project | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Record a change. `before` and `after` hold the changed fields, never a secret."""
    return AuditEntry.objects.create(
        project=project or (environment.project if environment else None),
        environment=environment,
        actor_user=actor.user,
        actor_key=actor.key,
        actor_name=actor.name,
        action=action,
        object_type=action.partition(".")[0],
        object_id=str(object_id),
        object_name=object_name[:300],
        before=before,
        after=after,
        reason=reason.replace("\0", ""),  # PostgreSQL cannot store NUL
        request_id=request_id.get(),
    )


def changed_fields(
    before: dict[str, Any], after: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The items of `before` and of `after` whose values differ as JSON."""
    differing = [
        key for key in {**before, **after} if not json_equal(before.get(key), after.get(key))
    ]
    return (
        {key: before[key] for key in differing if key in before},
        {key: after[key] for key in differing if key in after},
    )
