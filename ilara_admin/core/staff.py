"""Writes to staff accounts. Each is one transaction."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.models import (
    AuditAction,
    Role,
    User,
)


@transaction.atomic
def staff_create(
    *, username: str, role: Role, password: str, actor: Actor, email: str = "", name: str = ""
) -> User:
    if User.objects.filter(username=username).exists():
        raise ValidationError({"username": f"The staff account “{username}” already exists."})
    user = User(username=username, first_name=name, email=email, role=role)
    user.set_password(password)
    user.full_clean()
    user.save()
    _record(AuditAction.STAFF_CREATED, user, actor, after={"username": username, "role": role})
    return user


@transaction.atomic
def staff_update(
    user: User,
    *,
    actor: Actor,
    name: str | None = None,
    email: str | None = None,
    role: Role | None = None,
    time_zone: str | None = None,
    is_active: bool | None = None,
    reason: str = "",
) -> User:
    """Change the given fields. Roles and deactivation are in force on the next request.

    Raises ValidationError if no active admin would be left.
    """
    # Lock all admins, in a fixed order: if two give up the role at once, one must be refused.
    admins = list(
        User.objects.select_for_update()
        .filter(role=Role.ADMIN, is_active=True)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    user.refresh_from_db()
    before = _audit_fields(user)
    if name is not None:
        user.first_name, user.last_name = name.strip(), ""
    user.email = user.email if email is None else email
    user.role = role or user.role
    user.time_zone = time_zone or user.time_zone
    user.is_active = user.is_active if is_active is None else is_active
    old, new = changed_fields(before, _audit_fields(user))
    if not new:
        return user
    if admins == [user.pk] and not user.may(Role.ADMIN):
        user.refresh_from_db()
        raise ValidationError(
            f"{user.username} is the last admin. Give another account the role first."
        )
    user.save(update_fields=["first_name", "last_name", "email", "role", "time_zone", "is_active"])
    _record(AuditAction.STAFF_UPDATED, user, actor, before=old, after=new, reason=reason)
    return user


@transaction.atomic
def staff_set_password(user: User, *, password: str, actor: Actor, reason: str = "") -> User:
    """Set a password and end all sessions of the account."""
    user.set_password(password)
    user.save(update_fields=["password"])
    after = {"password": "changed"}
    _record(AuditAction.STAFF_UPDATED, user, actor, after=after, reason=reason)
    return user


def _audit_fields(user: User) -> dict[str, Any]:
    return {
        "name": user.get_full_name(),
        "email": user.email,
        "role": user.role,
        "time_zone": user.time_zone,
        "is_active": user.is_active,
    }


def _record(action: AuditAction, user: User, actor: Actor, **details: Any) -> None:
    audit_record(action, actor, object_id=user.pk, object_name=user.username, **details)
