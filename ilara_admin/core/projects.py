"""Writes to projects and environments. Each is one transaction."""

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from ilara_admin.core.audit import Actor, audit_record, changed_fields
from ilara_admin.models import (
    AuditAction,
    Environment,
    Project,
    Tier,
)

ENVIRONMENT_SLUGS = ("live", "test")


SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


# First path segments that a project's slug would collide with.
RESERVED_SLUGS = frozenset(
    {"v1", "ofrep", "static", "healthz", "readyz", "metrics", "preferences", "account", "staff",
     "sign-in", "sign-out", "projects", "audit", "developers", "_components"}
)  # fmt: skip


def bump_config_version(*environments: Environment) -> None:
    """Make every process reload its snapshot. Call it last in the transaction of a change."""
    for environment in sorted(environments, key=lambda environment: environment.pk):
        Environment.objects.filter(pk=environment.pk).update(config_version=F("config_version") + 1)


def _check_slug(slug: str, longest: int) -> None:
    if not SLUG.fullmatch(slug) or len(slug) > longest:
        raise ValidationError(
            {"slug": f"Use 1 to {longest} lowercase letters, digits and inner hyphens."}
        )


def checked_name(name: str, what: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100:
        raise ValidationError({"name": f"The {what} needs a name of 1 to 100 characters."})
    return name


@transaction.atomic
def project_create(
    *, name: str, slug: str, actor: Actor, tier: Tier = Tier.ENTERPRISE, reason: str = ""
) -> Project:
    """Create a project with its environments, `live` and `test`, without keys."""
    name = checked_name(name, "project")
    _check_slug(slug, 40)
    if slug in RESERVED_SLUGS:
        raise ValidationError({"slug": f"“{slug}” is reserved. Use another slug."})
    if Project.objects.filter(slug=slug).exists():
        raise ValidationError({"slug": f"The project “{slug}” already exists."})
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
    """Change a project's name or tier, in force on the next request."""
    project = Project.objects.select_for_update().get(pk=project.pk)
    before = {"name": project.name, "tier": project.tier}
    project.name = project.name if name is None else checked_name(name, "project")
    project.tier = project.tier if tier is None else tier
    old, new = changed_fields(before, {"name": project.name, "tier": project.tier})
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
    bump_config_version(*project.environments.all())
    return project


@transaction.atomic
def environment_create(*, project: Project, slug: str, actor: Actor) -> Environment:
    _check_slug(slug, 20)
    if project.environments.filter(slug=slug).exists():
        raise ValidationError({"slug": f"The environment “{slug}” already exists."})
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
        raise ValueError(f"Unknown environment settings: {', '.join(sorted(unknown))}")
    # Read the row again: the caller's copy may be older than another admin's change. The lock does
    # not block the registration of players.
    environment = (
        Environment.objects.select_for_update(of=("self",), no_key=True)
        .select_related("project")
        .get(pk=environment.pk)
    )
    before = {name: getattr(environment, name) for name in ENVIRONMENT_SETTINGS}
    old, new = changed_fields(before, {**before, **settings})
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
    bump_config_version(environment)
    return environment


def _check_settings(environment: Environment) -> None:
    errors = {}
    for name in ("new_days", "at_risk_days", "churned_days", "retention_days"):
        if not 1 <= getattr(environment, name) <= 3650:
            errors[name] = "Use 1 to 3650 days."
    if not errors and environment.churned_days <= environment.at_risk_days:
        errors["churned_days"] = "Use more days than for “at risk”."
    if not CURRENCY.fullmatch(environment.currency):
        errors["currency"] = "Use a three-letter currency code, like USD."
    if errors:
        raise ValidationError(errors)
