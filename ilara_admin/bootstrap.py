"""The first start: an admin, a project with its environments, and their keys."""

import secrets
from dataclasses import dataclass

from django.db import transaction

from ilara_admin.core.api_keys import api_key_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.projects import project_create
from ilara_admin.core.staff import staff_create
from ilara_admin.models import KeyKind, Project, Role, Tier, User
from ilara_admin.starter import environment_start

ADMIN_NAME = "admin"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """Secrets in plain text: the admin's password, None if staff already existed, and the tokens by
    (environment, kind)."""

    project: Project
    password: str | None
    tokens: dict[tuple[str, str], str]


@transaction.atomic
def first_start(*, name: str, slug: str, tier: Tier, actor: Actor) -> FirstStart | None:
    """Create what a new installation needs, or return None if a project exists."""
    if Project.objects.exists():
        return None
    password = None
    if not User.objects.exists():
        password = secrets.token_urlsafe(12)
        staff_create(username=ADMIN_NAME, role=Role.ADMIN, password=password, actor=actor)
    project = project_create(name=name, slug=slug, tier=tier, actor=actor)
    tokens: dict[tuple[str, str], str] = {}
    for environment in project.environments.all():
        environment_start(environment, actor)
        for kind in KeyKind:
            new = api_key_create(
                environment=environment, kind=kind, name=f"First {kind} key", actor=actor
            )
            tokens[environment.slug, kind] = new.token
    return FirstStart(project, password, tokens)
