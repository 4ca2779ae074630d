"""Writes to staff accounts and their roles in projects. Each is one transaction."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    create_or_conflict,
    entry_fields,
    merge_changes,
    register_permanent,
    register_undo,
)
from ilara_admin.models import (
    MEMBER_ROLES,
    AuditAction,
    AuditEntry,
    Membership,
    Project,
    Role,
    User,
)


@transaction.atomic
def staff_create(
    *,
    username: str,
    password: str | None,
    actor: Actor,
    email: str = "",
    name: str = "",
    is_owner: bool = False,
) -> User:
    """Create an account; without a password it signs in in other ways. Unless it is an owner's, it
    needs memberships, see `membership_set`."""
    user = User(username=username, first_name=name, email=email, is_owner=is_owner)
    user.set_password(password)
    user.full_clean(validate_unique=False)
    taken = ValidationError({"username": f"The staff account “{username}” already exists."})
    create_or_conflict(user, {"staff_username_key": taken})
    after = {"username": username, "is_owner": is_owner}
    _record(AuditAction.STAFF_CREATED, user, actor, after=after)
    return user


@transaction.atomic
def staff_update(
    user: User,
    *,
    actor: Actor,
    name: str | None = None,
    email: str | None = None,
    is_owner: bool | None = None,
    time_zone: str | None = None,
    is_active: bool | None = None,
    seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:
    """Change the given fields. Rights and deactivation are in force on the next request.

    Returns None if nothing changed. Raises ValidationError if no active owner would be left, and
    Conflict if a field differs from `seen`.
    """
    owners = _lock(user.pk)
    user.refresh_from_db()
    before = staff_fields(user)
    given = {
        "name": name if name is None else name.strip(),
        "email": email,
        "is_owner": is_owner,
        "time_zone": time_zone,
        "is_active": is_active,
    }
    wanted = {field: value for field, value in given.items() if value is not None}
    mine = merge_changes("staff", user.pk, user.username, seen=seen, now=before, wanted=wanted)
    old, new = changed_fields(before, {**before, **mine})
    if not new:
        return None
    if "name" in new:
        user.first_name, user.last_name = new["name"], ""
    for field in new.keys() - {"name"}:
        setattr(user, field, new[field])
    if owners == [user.pk] and not (user.is_owner and user.is_active):
        user.refresh_from_db()
        raise ValidationError(
            f"{user.username} is the last owner. Make another account an owner first."
        )
    user.save(
        update_fields=["first_name", "last_name", "email", "is_owner", "time_zone", "is_active"]
    )
    if not user.is_active:
        sessions_end(user)
    return _record(AuditAction.STAFF_UPDATED, user, actor, before=old, after=new, reason=reason)


def _lock(pk: object) -> list[int]:
    """Lock an account and all owners, in a fixed order: if two owners give up at once, one must be
    refused. Returns the active owners."""
    rows = User.objects.select_for_update().order_by("pk")
    rows = rows.filter(Q(is_owner=True, is_active=True) | Q(pk=pk))
    return [user.pk for user in rows if user.is_owner and user.is_active]


@transaction.atomic
def staff_set_password(user: User, *, password: str, actor: Actor, reason: str = "") -> User:
    """Set a password and end all sessions of the account."""
    user.set_password(password)
    user.save(update_fields=["password"])
    sessions_end(user)
    after = {"password": "changed"}
    _record(AuditAction.STAFF_UPDATED, user, actor, after=after, reason=reason)
    return user


def sessions_end(user: User, keep: str | None = "") -> int:
    """End the account's sessions, except the one with the key `keep`. Returns their number. All of
    them have a row of allauth's table: their first page writes it."""
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS_END, [user.pk, keep or ""])
        ended: int = cursor.rowcount
        return ended


SESSIONS_END = """
DELETE FROM django_session USING usersessions_usersession AS u
WHERE u.session_key = django_session.session_key AND u.user_id = %s AND u.session_key <> %s"""


def staff_fields(user: User) -> dict[str, Any]:
    return {
        "name": user.get_full_name(),
        "email": user.email,
        "is_owner": user.is_owner,
        "time_zone": user.time_zone,
        "is_active": user.is_active,
    }


@transaction.atomic
def membership_set(
    user: User,
    project: Project,
    role: Role | None,
    *,
    actor: Actor,
    seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:
    """Give the account this role in the project, or with None remove it from the project. In force
    on the next request.

    Returns None if nothing changed. Raises Conflict if the role differs from `seen`, which is like
    `membership_fields`.
    """
    if role is not None and role not in MEMBER_ROLES:
        raise ValidationError({"role": "Owner is not a role in a project."})
    User.objects.select_for_update().get(pk=user.pk)  # a membership may not exist yet
    before = membership_fields(user, project)
    mine = merge_changes(
        "staff", user.pk, user.username, seen=seen, now=before, wanted={"role": role}
    )
    old, new = changed_fields(before, {**before, **mine})
    if not new:
        return None
    if role is None:
        Membership.objects.filter(user=user, project=project).delete()
    else:
        Membership.objects.update_or_create(user=user, project=project, defaults={"role": role})
    user.__dict__.pop("roles", None)  # read before
    return _record(
        AuditAction.STAFF_MEMBERSHIP_CHANGED,
        user,
        actor,
        project=project,
        before=old,
        after=new,
        reason=reason,
    )


def membership_fields(user: User, project: Project) -> dict[str, Any]:
    found = Membership.objects.filter(user=user, project=project).first()
    return {"role": found and found.role}


def _record(action: AuditAction, user: User, actor: Actor, **details: Any) -> AuditEntry:
    return audit_record(action, actor, object_id=user.pk, object_name=user.username, **details)


# --- Undo -----------------------------------------------------------------------------------------


def _now(entry: AuditEntry) -> Fields:
    _lock(entry.object_id)
    return entry_fields(entry, staff_fields(User.objects.get(pk=entry.object_id)))


def _restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    user = User.objects.get(pk=entry.object_id)
    return staff_update(user, **(entry.before or {}), actor=actor, reason=reason)


def _why_not(entry: AuditEntry) -> str:
    after = entry.after or {}
    if "password" in after:
        return "A password cannot be restored. Set a new one instead."
    if "role" in after:  # before roles belonged to projects
        return "Roles belong to projects now. Change them under Staff."
    return ""


def _membership_of(entry: AuditEntry) -> tuple[User, Project]:
    assert entry.project is not None
    return User.objects.select_for_update().get(pk=entry.object_id), entry.project


def _membership_restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    role = (entry.before or {})["role"]
    return membership_set(
        *_membership_of(entry), None if role is None else Role(role), actor=actor, reason=reason
    )


register_undo(
    AuditAction.STAFF_UPDATED,
    role=Role.OWNER,
    current=_now,
    restore=_restore,
    why_not=_why_not,
)
register_undo(
    AuditAction.STAFF_MEMBERSHIP_CHANGED,
    role=Role.ADMIN,
    current=lambda entry: membership_fields(*_membership_of(entry)),
    restore=_membership_restore,
)
register_permanent(
    {
        AuditAction.STAFF_CREATED: "A staff account cannot be deleted. Deactivate it instead.",
        AuditAction.STAFF_FACTOR_ADDED: "Only its owner can remove a single second factor.",
        AuditAction.STAFF_FACTOR_REMOVED: "A removed second factor must be set up again.",
        AuditAction.STAFF_RECOVERY_CODES_MADE: "Old recovery codes cannot be restored.",
        AuditAction.STAFF_RECOVERY_CODE_USED: "A recovery code works once.",
        AuditAction.STAFF_SESSIONS_ENDED: "An ended session cannot be restored.",
        AuditAction.STAFF_OPENID_CONNECTED: "Only the person can disconnect the account.",
        AuditAction.STAFF_OPENID_DISCONNECTED: "Only the person can connect the account again.",
    }
)
