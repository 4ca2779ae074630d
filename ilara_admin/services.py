"""Writes to what all apps share. Each is one transaction: check, write, audit, bump the version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from ilara_admin import tokens
from ilara_admin.audit import Actor, audit_record, changes
from ilara_admin.models import (
    ApiKey,
    AuditAction,
    Environment,
    KeyKind,
    Project,
    Role,
    Tier,
    User,
)

ENVIRONMENT_SLUGS = ("live", "test")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
# First segments of addresses that a project's slug would hide.
RESERVED_SLUGS = frozenset(
    {"v1", "ofrep", "static", "healthz", "readyz", "metrics", "preferences", "account", "staff",
     "sign-in", "sign-out", "projects", "audit", "developers", "_components"}
)  # fmt: skip


def environment_bump(*environments: Environment) -> None:
    """Make every process reload what it knows. Call it last in the transaction of a change."""
    for environment in sorted(environments, key=lambda environment: environment.pk):
        Environment.objects.filter(pk=environment.pk).update(config_version=F("config_version") + 1)


def _check_slug(slug: str, longest: int) -> None:
    if not SLUG.fullmatch(slug) or len(slug) > longest:
        raise ValidationError(
            {"slug": f"Use 1 to {longest} lower-case letters, digits and inner hyphens."}
        )


def _checked_name(name: str, what: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100:
        raise ValidationError({"name": f"Give the {what} a name of 1 to 100 characters."})
    return name


@transaction.atomic
def project_create(
    *, name: str, slug: str, actor: Actor, tier: Tier = Tier.ENTERPRISE, reason: str = ""
) -> Project:
    """A project with its two environments, `live` and `test`, still without keys."""
    name = _checked_name(name, "project")
    _check_slug(slug, 40)
    if slug in RESERVED_SLUGS:
        raise ValidationError({"slug": f"“{slug}” is an address of the dashboard. Use another."})
    if Project.objects.filter(slug=slug).exists():
        raise ValidationError({"slug": f"There is already a project “{slug}”."})
    project = Project.objects.create(name=name, slug=slug, tier=tier)
    audit_record(
        AuditAction.PROJECT_CREATED,
        actor,
        project=project,
        object_id=project.pk,
        object_name=slug,
        after={"name": name, "slug": slug, "tier": tier},
        reason=reason,
    )
    for environment_slug in ENVIRONMENT_SLUGS:
        environment_create(project=project, slug=environment_slug, actor=actor)
    return project


@transaction.atomic
def project_update(
    project: Project, *, actor: Actor, name: str | None = None, tier: Tier | None = None,
    reason: str = "",
) -> Project:  # fmt: skip
    """Rename a project or move it to another tier, in force on the next request."""
    project = Project.objects.select_for_update().get(pk=project.pk)
    before = {"name": project.name, "tier": project.tier}
    project.name = project.name if name is None else _checked_name(name, "project")
    project.tier = project.tier if tier is None else tier
    old, new = changes(before, {"name": project.name, "tier": project.tier})
    if not new:
        return project
    project.save(update_fields=["name", "tier"])
    audit_record(
        AuditAction.PROJECT_UPDATED,
        actor,
        project=project,
        object_id=project.pk,
        object_name=project.slug,
        before=old,
        after=new,
        reason=reason,
    )
    environment_bump(*project.environments.all())
    return project


@transaction.atomic
def environment_create(*, project: Project, slug: str, actor: Actor) -> Environment:
    _check_slug(slug, 20)
    if project.environments.filter(slug=slug).exists():
        raise ValidationError({"slug": f"There is already an environment “{slug}”."})
    environment = Environment.objects.create(project=project, slug=slug)
    audit_record(
        AuditAction.ENVIRONMENT_CREATED,
        actor,
        environment=environment,
        object_id=environment.pk,
        object_name=str(environment),
        after={"slug": slug},
    )
    return environment


ENVIRONMENT_SETTINGS = (
    "new_days",
    "at_risk_days",
    "churned_days",
    "retention_days",
    "currency",
    "public_keys_read_email",
    "public_keys_restricted",
)
CURRENCY = re.compile("[A-Z]{3}")


@transaction.atomic
def environment_update(
    environment: Environment, settings: Mapping[str, Any], *, actor: Actor, reason: str = ""
) -> Environment:
    """Change some of ENVIRONMENT_SETTINGS, in force on the next request."""
    unknown = set(settings) - set(ENVIRONMENT_SETTINGS)
    if unknown:
        raise ValueError(f"No settings of an environment: {', '.join(sorted(unknown))}")
    # The row is read anew: what the caller holds may be older than another admin's change. The lock
    # lets players register meanwhile.
    environment = (
        Environment.objects.select_for_update(of=("self",), no_key=True)
        .select_related("project")
        .get(pk=environment.pk)
    )
    before = {name: getattr(environment, name) for name in ENVIRONMENT_SETTINGS}
    old, new = changes(before, {**before, **settings})
    for name, value in new.items():
        setattr(environment, name, value)
    _check_settings(environment)
    if not new:
        return environment
    environment.save(update_fields=list(new))
    audit_record(
        AuditAction.ENVIRONMENT_UPDATED,
        actor,
        environment=environment,
        object_id=environment.pk,
        object_name=str(environment),
        before=old,
        after=new,
        reason=reason,
    )
    environment_bump(environment)
    return environment


def _check_settings(environment: Environment) -> None:
    errors = {}
    for name in ("new_days", "at_risk_days", "churned_days", "retention_days"):
        if not 1 <= getattr(environment, name) <= 3650:
            errors[name] = "Use 1 to 3650 days."
    if not errors and environment.churned_days <= environment.at_risk_days:
        errors["churned_days"] = "Use more days than for at risk: it comes after it."
    if not CURRENCY.fullmatch(environment.currency):
        errors["currency"] = "Use the three letters of a currency, like USD."
    if errors:
        raise ValidationError(errors)


# --- API keys -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewKey:
    """The token exists here once; the database keeps its digest."""

    key: ApiKey
    token: str


def _key_insert(
    environment: Environment, kind: KeyKind, name: str, actor: Actor, expires_in: timedelta | None
) -> NewKey:
    token = tokens.new_token("pk" if kind == KeyKind.PUBLIC else "sk", environment.slug)
    start = len(f"pk_{environment.slug}_")
    key = ApiKey.objects.create(
        environment=environment,
        kind=kind,
        name=name,
        prefix=token[: start + 4],
        digest=tokens.digest(token),
        last_four=token[-4:],
        created_by=actor.user,
        created_by_name=actor.name,
        expires_at=timezone.now() + expires_in if expires_in else None,
    )
    return NewKey(key, token)


def _key_facts(key: ApiKey) -> dict[str, Any]:
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {"name": key.name, "kind": key.kind, "key": key.masked, "expires_at": expires_at}


def _key_audit(action: AuditAction, key: ApiKey, actor: Actor, **details: Any) -> None:
    audit_record(
        action,
        actor,
        environment=key.environment,
        object_id=key.pk,
        object_name=f"{key.name} ({key.masked})",
        **details,
    )


@transaction.atomic
def api_key_create(
    *, environment: Environment, kind: KeyKind, name: str, actor: Actor,
    expires_in: timedelta | None = None, reason: str = "",
) -> NewKey:  # fmt: skip
    """Issue a key. The token is returned once and cannot be had again."""
    new = _key_insert(environment, kind, _checked_name(name, "key"), actor, expires_in)
    _key_audit(
        AuditAction.API_KEY_CREATED, new.key, actor, after=_key_facts(new.key), reason=reason
    )
    environment_bump(environment)
    return new


@transaction.atomic
def api_key_revoke(key: ApiKey, *, actor: Actor, reason: str = "") -> ApiKey:
    """End a key at once. Revoking a revoked key changes nothing."""
    key = ApiKey.objects.select_for_update(of=("self",)).select_related(
        "environment__project"
    ).get(pk=key.pk)  # fmt: skip
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        _key_audit(
            AuditAction.API_KEY_REVOKED,
            key,
            actor,
            before={"revoked_at": None},
            after={"revoked_at": key.revoked_at.isoformat()},
            reason=reason,
        )
        environment_bump(key.environment)
    return key


@transaction.atomic
def api_key_rotate(key: ApiKey, *, grace: timedelta, actor: Actor, reason: str = "") -> NewKey:
    """Issue a successor, and let this key expire after `grace` (at once when it is zero).

    An expiry that comes sooner stays.
    """
    key = ApiKey.objects.select_for_update(of=("self",)).select_related(
        "environment__project"
    ).get(pk=key.pk)  # fmt: skip
    now = timezone.now()
    if key.state_at(now) not in ("active", "expiring"):
        raise ValidationError(f"The key {key.masked} is no longer in use. Create a new one.")
    new = _key_insert(key.environment, KeyKind(key.kind), key.name, actor, None)
    before = _key_facts(key)
    ends_at = now + grace
    key.expires_at = min(key.expires_at, ends_at) if key.expires_at else ends_at
    key.save(update_fields=["expires_at"])
    old, changed = changes(before, _key_facts(key))
    _key_audit(
        AuditAction.API_KEY_ROTATED,
        key,
        actor,
        before=old,
        after={**changed, "successor": new.key.masked},
        reason=reason,
    )
    environment_bump(key.environment)
    return new


# --- Staff --------------------------------------------------------------------------------------


@transaction.atomic
def staff_create(
    *, username: str, role: Role, password: str, actor: Actor, email: str = "", name: str = ""
) -> User:
    if User.objects.filter(username=username).exists():
        raise ValidationError({"username": f"There is already a member of staff “{username}”."})
    user = User(username=username, first_name=name, email=email, role=role)
    user.set_password(password)
    user.full_clean()
    user.save()
    _staff_audit(AuditAction.STAFF_CREATED, user, actor, after={"username": username, "role": role})
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
    """Change what is given. Roles and deactivation are in force on the next request.

    Raises ValidationError when nobody would be left to manage staff.
    """
    # All admins, in one order: two who give up the role at once must not both find the other.
    admins = list(
        User.objects.select_for_update()
        .filter(role=Role.ADMIN, is_active=True)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    user.refresh_from_db()
    before = _staff_facts(user)
    if name is not None:
        user.first_name, user.last_name = name.strip(), ""
    user.email = user.email if email is None else email
    user.role = role or user.role
    user.time_zone = time_zone or user.time_zone
    user.is_active = user.is_active if is_active is None else is_active
    old, new = changes(before, _staff_facts(user))
    if not new:
        return user
    if admins == [user.pk] and not user.may(Role.ADMIN):
        user.refresh_from_db()
        raise ValidationError(
            f"{user.username} is the last admin. Make somebody else an admin first."
        )
    user.save(update_fields=["first_name", "last_name", "email", "role", "time_zone", "is_active"])
    _staff_audit(AuditAction.STAFF_UPDATED, user, actor, before=old, after=new, reason=reason)
    return user


@transaction.atomic
def staff_set_password(user: User, *, password: str, actor: Actor, reason: str = "") -> User:
    """Set a password. It also ends every session of that member of staff."""
    user.set_password(password)
    user.save(update_fields=["password"])
    after = {"password": "changed"}
    _staff_audit(AuditAction.STAFF_UPDATED, user, actor, after=after, reason=reason)
    return user


def _staff_facts(user: User) -> dict[str, Any]:
    return {
        "name": user.get_full_name(),
        "email": user.email,
        "role": user.role,
        "time_zone": user.time_zone,
        "is_active": user.is_active,
    }


def _staff_audit(action: AuditAction, user: User, actor: Actor, **details: Any) -> None:
    audit_record(action, actor, object_id=user.pk, object_name=user.username, **details)
