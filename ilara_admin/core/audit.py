"""The audit log: the actor of a change and its entry."""

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.utils import timezone

from ilara_admin.core.guard import (
    Act,
    AuditSide,
    ChangeItem,
    Collected,
    Confirmation,
    Freeze,
    GuardPolicy,
    GuardRequired,
    Mark,
    Missing,
    acts_of,
    breaks_glass,
    missing,
    plain,
)
from ilara_admin.core.json_equality import json_equal
from ilara_admin.models import (
    ApiKey,
    AuditAction,
    AuditEntry,
    Environment,
    FreezeWindow,
    Project,
    User,
)

# Set during a request, to group the entries of one request.
request_id: ContextVar[str] = ContextVar("request_id", default="")
UNCONFIRMED = Confirmation()


@dataclass(frozen=True, slots=True)
class Actor:
    """A member of staff, an API key, the command line, or the guard of a rollout."""

    name: str
    user: User | None = None
    key: ApiKey | None = None
    confirmation: Confirmation = UNCONFIRMED

    @classmethod
    def of_user(cls, user: User, confirmation: Confirmation = UNCONFIRMED) -> "Actor":
        return cls(user.get_full_name() or user.username, user=user, confirmation=confirmation)

    @classmethod
    def of_key(cls, key: ApiKey) -> "Actor":
        return cls(key.name, key=key)

    @classmethod
    def of_command(cls, command: str) -> "Actor":
        """A command cannot ask: it goes around the guard of an environment, and its entries say
        so."""
        name = f"manage.py {command}"
        return cls(name, confirmation=Confirmation(reason=name, break_glass=True))

    @classmethod
    def of_guard(cls, name: str) -> "Actor":
        """The guard of a rollout, whose changes never wait."""
        return cls(name, confirmation=Confirmation(settled=Mark()))


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
    whole: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
) -> AuditEntry:
    """Record a change. `before` and `after` hold the changed fields, never a secret. For `whole`
    and `wanted` see guard_check, whose GuardRequired this raises."""
    mark = guard_check(
        action, actor, object_id=object_id, object_name=object_name, environment=environment,
        project=project, before=before, after=after, reason=reason, whole=whole, wanted=wanted,
    )  # fmt: skip
    if not reason and acts_of(action, before, after, whole):
        reason = confirmed_reason(actor)  # of a page without a field for it
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
        break_glass=mark.break_glass,
        change_request_id=mark.request_id,
    )


def confirmed_reason(actor: Actor) -> str:
    """The reason that was typed for the guard. That of a command is only its name."""
    return (actor.confirmation.reason or "") if actor.user else ""


# --- The guard of environments --------------------------------------------------------------------


def guard_check(
    action: AuditAction,
    actor: Actor,
    *,
    object_id: object,
    object_name: str,
    environment: Environment | None,
    project: Project | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    whole: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
) -> Mark:
    """What the audit entry of a change will say of the guard. Raises GuardRequired if the actor has
    not confirmed what the environment's guard needs, and NotApprovedError.

    A service whose job writes the entry later calls this when the change begins. `whole` is the
    object after the change, as in ChangeItem. `wanted` replaces `after` in a change request if that
    holds what depends on chance or on the time, such as the prefix of a key.
    """
    confirmation = actor.confirmation
    if confirmation.settled is not None:
        return confirmation.settled
    item = ChangeItem(
        environment.pk if environment else None,
        str(action),
        "" if wanted is not None and before is None else str(object_id),
        object_name[:300],
        plain(before),
        plain(after if wanted is None else wanted),
        plain(whole),
    )
    acts = item.acts
    if confirmation.approved is not None:
        confirmation.approved.take(item)
    if confirmation.reason is None:
        confirmation = replace(confirmation, reason=reason)
    now = timezone.now()
    policies = list(_policies(action, environment, project, before)) if acts else []
    lacking = {place: missing(policy, acts, confirmation, now) for place, policy in policies}
    if confirmation.collecting is not None:
        needed = reduce(or_, lacking.values(), Missing())
        confirmation.collecting.append(Collected(item, needed))
        return Mark()
    for place, needed in lacking.items():
        if needed:
            raise GuardRequired(place, needed)
    return Mark(
        any(breaks_glass(policy, acts, confirmation, now) for _, policy in policies),
        confirmation.approved.request_id if confirmation.approved else None,
    )


def _policies(
    action: AuditAction, environment: Environment | None, project: Project | None, before: AuditSide
) -> Iterator[tuple[str, GuardPolicy]]:
    """The policies that apply, by the slug of the environment. A change of the project is one of
    all its environments, and the name of any of them confirms it."""
    if environment is not None:
        places = [environment]
    else:
        places = list(project.environments.all()) if project else []
    names = frozenset(place.slug for place in places)
    # The settings of the guard itself are changed under the old ones.
    old = before if action == AuditAction.ENVIRONMENT_UPDATED and before else {}
    for place in places:
        acts = {name: acts_in(old.get(name, getattr(place, name))) for name in GUARD_SETTINGS}
        yield (
            place.slug,
            GuardPolicy(
                reason=acts["guard_reason"],
                name=acts["guard_name"],
                approval=acts["guard_approval"],
                names=names,
                freezes=freezes_of(place),
            ),
        )


GUARD_SETTINGS = ("guard_reason", "guard_name", "guard_approval")


def acts_in(names: Iterable[str]) -> frozenset[Act]:
    return frozenset(Act(name) for name in names if name in set(Act))


def freezes_of(environment: Environment, until: timedelta = timedelta()) -> tuple[Freeze, ...]:
    """The windows that are active, or that start before `until` has passed."""
    now = timezone.now()
    windows = FreezeWindow.objects.filter(
        environment=environment, ends_at__gt=now, starts_at__lte=now + until
    )
    rows = windows.values_list("starts_at", "ends_at", "reason")
    return tuple(Freeze(*row) for row in rows)


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
