"""Changes of projects and environments, each in one transaction."""

import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify

from ilara_admin.core.audit import GUARD_SETTINGS, Actor, audit_record, changed_fields
from ilara_admin.core.changes import (
    Fields,
    bump_config_version,
    create_or_conflict,
    entry_fields,
    merge_changes,
    register_permanent,
    register_undo,
)
from ilara_admin.core.guard import NO_ACTS, Act, AuditSide, register_acts
from ilara_admin.core.names import name_problem
from ilara_admin.models import AuditAction, AuditEntry, Environment, Project, Role, Tier

ENVIRONMENT_SLUGS = ("live", "test")
SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
# First path segments that a project's slug would collide with.
RESERVED_SLUGS = frozenset(
    {"v1", "ofrep", "static", "healthz", "readyz", "metrics", "preferences", "account", "staff",
     "sign-in", "sign-out", "invite", "projects", "audit", "developers", "_components"}
)  # fmt: skip


def _check_slug(slug: str, longest: int) -> None:
    if not SLUG.fullmatch(slug) or len(slug) > longest:
        raise ValidationError(
            {"slug": f"Use 1 to {longest} lowercase letters, digits and inner hyphens."}
        )


def slug_from(name: str) -> str:
    """A valid slug that resembles the name."""
    slug = slugify(name).replace("_", "-")[:40].strip("-") or "game"
    return f"{slug}-game" if slug in RESERVED_SLUGS else slug


def checked_name(name: str, what: str) -> str:
    """The name without spaces at its ends. Raises ValidationError."""
    name = name.strip()
    if not 1 <= len(name) <= 100:
        raise ValidationError({"name": f"The {what} needs a name of 1 to 100 characters."})
    check_visible(name)
    return name


def check_visible(name: str) -> None:
    """Raise ValidationError unless a typed name is visible and has no outer space."""
    if problem := name_problem(name):
        raise ValidationError({"name": f"The name {problem}."})


@transaction.atomic
def project_create(
    *, name: str, slug: str, actor: Actor, tier: Tier = Tier.ENTERPRISE, reason: str = ""
) -> Project:
    """Create a project with its environments, `live` and `test`, without keys."""
    name = checked_name(name, "project")
    _check_slug(slug, 40)
    if slug in RESERVED_SLUGS:
        raise ValidationError({"slug": f"“{slug}” is reserved. Use another slug."})
    taken = ValidationError({"slug": f"The project “{slug}” already exists."})
    project = create_or_conflict(
        Project(name=name, slug=slug, tier=tier), {"project_slug_key": taken}
    )
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
    seen: Fields | None = None, reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Change a project's name or tier, in force on the next request.

    Returns None if nothing changed. Raises Conflict if a field differs from `seen`.
    """
    project = Project.objects.select_for_update().get(pk=project.pk)
    before = {"name": project.name, "tier": project.tier}
    wanted = {
        "name": project.name if name is None else checked_name(name, "project"),
        "tier": project.tier if tier is None else tier,
    }
    mine = merge_changes("project", project.pk, project.slug, seen=seen, now=before, wanted=wanted)
    old, new = changed_fields(before, {**before, **mine})
    if not new:
        return None
    Project.objects.filter(pk=project.pk).update(**new)
    entry = audit_record(
        AuditAction.PROJECT_UPDATED,
        actor,
        project=project,
        object_id=project.pk,
        object_name=project.slug,
        before=old,
        after=new,
        reason=reason,
    )
    bump_config_version(*project.environments.all())
    return entry


@transaction.atomic
def environment_create(*, project: Project, slug: str, actor: Actor) -> Environment:
    _check_slug(slug, 20)
    taken = ValidationError({"slug": f"The environment “{slug}” already exists."})
    environment = create_or_conflict(
        Environment(project=project, slug=slug), {"environment_slug_unique": taken}
    )
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
    "searchable_attributes",
    "personal_attributes",
    "personal_properties",
    *GUARD_SETTINGS,
)
NAME_LISTS = ("searchable_attributes", "personal_attributes", "personal_properties")
MAX_NAMES = 50
MAX_NAME = 100  # characters


CURRENCY = re.compile("[A-Z]{3}")

# Called in the transaction of a change, with the settings that changed, before and after.
type SettingsListener = Callable[[Environment, Fields, Fields], None]
_listeners: list[SettingsListener] = []


def on_settings_change(listener: SettingsListener) -> None:
    _listeners.append(listener)


@transaction.atomic
def environment_update(
    environment: Environment, settings: Fields, *, actor: Actor, seen: Fields | None = None,
    reason: str = "",
) -> AuditEntry | None:  # fmt: skip
    """Change some of ENVIRONMENT_SETTINGS, in force on the next request.

    Returns None if nothing changed. Raises Conflict if a setting differs from `seen`.
    """
    unknown = set(settings) - set(ENVIRONMENT_SETTINGS)
    if unknown:
        raise ValueError(f"Unknown environment settings: {', '.join(sorted(unknown))}")
    environment = _locked(environment.pk)
    before = environment_fields(environment)
    mine = merge_changes(
        "environment", environment.pk, str(environment), seen=seen, now=before, wanted=settings
    )
    old, new = changed_fields(before, {**before, **mine})
    for name, value in new.items():
        setattr(environment, name, value)
    _check_settings(environment)
    if not new:
        return None
    environment.save(update_fields=list(new))
    entry = audit_record(
        AuditAction.ENVIRONMENT_UPDATED,
        actor,
        environment=environment,
        object_id=environment.pk,
        object_name=str(environment),
        before=old,
        after=new,
        reason=reason,
    )
    bump_config_version(environment)
    for listener in _listeners:
        listener(environment, old, new)
    return entry


def environment_fields(environment: Environment) -> dict[str, Any]:
    return {name: getattr(environment, name) for name in ENVIRONMENT_SETTINGS}


def _locked(pk: int | str) -> Environment:
    """The lock does not block the registration of players."""
    environments = Environment.objects.select_for_update(of=("self",), no_key=True)
    return environments.select_related("project").get(pk=pk)


def _check_settings(environment: Environment) -> None:
    errors = {}
    for name in ("new_days", "at_risk_days", "churned_days", "retention_days"):
        if not 1 <= getattr(environment, name) <= 3650:
            errors[name] = "Use 1 to 3650 days."
    if not errors and environment.churned_days <= environment.at_risk_days:
        errors["churned_days"] = "Use more days than for “at risk”."
    if not CURRENCY.fullmatch(environment.currency):
        errors["currency"] = "Use a three-letter currency code, like USD."
    for field in NAME_LISTS:
        names = getattr(environment, field)
        if len(names) > MAX_NAMES or any(not 1 <= len(name) <= MAX_NAME for name in names):
            errors[field] = f"Use at most {MAX_NAMES} names of 1 to {MAX_NAME} characters."
    for field in GUARD_SETTINGS:
        acts = getattr(environment, field)
        if acts != sorted(set(acts) & set(Act)):
            errors[field] = f"Use acts in order: {', '.join(sorted(Act))}."
    if errors:
        raise ValidationError(errors)


def _acts(action: str, before: AuditSide, after: AuditSide, whole: AuditSide) -> frozenset[Act]:
    changes = (AuditAction.ENVIRONMENT_UPDATED, AuditAction.PROJECT_UPDATED)
    return frozenset({Act.SETTINGS}) if action in changes else NO_ACTS


register_acts("environment", _acts)
register_acts("project", _acts)


# --- Undo -----------------------------------------------------------------------------------------


def _project_now(entry: AuditEntry) -> Fields:
    project = Project.objects.select_for_update().get(pk=entry.object_id)
    return entry_fields(entry, {"name": project.name, "tier": project.tier})


def _project_restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    project = Project.objects.get(pk=entry.object_id)
    return project_update(project, **(entry.before or {}), actor=actor, reason=reason)


def _environment_now(entry: AuditEntry) -> Fields:
    return entry_fields(entry, environment_fields(_locked(entry.object_id)))


def _environment_restore(entry: AuditEntry, actor: Actor, reason: str) -> AuditEntry | None:
    environment = Environment.objects.get(pk=entry.object_id)
    return environment_update(environment, entry.before or {}, actor=actor, reason=reason)


register_undo(
    AuditAction.PROJECT_UPDATED, role=Role.ADMIN, current=_project_now, restore=_project_restore
)
register_undo(
    AuditAction.ENVIRONMENT_UPDATED,
    role=Role.ADMIN,
    current=_environment_now,
    restore=_environment_restore,
)
register_permanent(
    {
        AuditAction.ENVIRONMENT_PLAYERS_EXPORTED: "An export changes nothing.",
        AuditAction.ENVIRONMENT_AUDIT_EXPORTED: "An export changes nothing.",
        AuditAction.PROJECT_CREATED: "A project cannot be deleted.",
        AuditAction.ENVIRONMENT_CREATED: "An environment cannot be deleted.",
    }
)
