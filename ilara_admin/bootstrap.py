"""The first contents of an installation: an owner, a project with its environments, their keys."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from ilara_admin.core.api_keys import api_key_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.staff import staff_create
from ilara_admin.models import KeyKind, Project, Tier, User
from ilara_admin.starter import project_open

ADMIN_NAME = "admin"

type Tokens = dict[tuple[str, str], str]  # by (environment, kind)


@dataclass(frozen=True, slots=True)
class FirstStart:
    """Secrets in plain text: the owner's password, None if staff already existed, and the keys."""

    project: Project
    password: str | None
    tokens: Tokens


@transaction.atomic
def first_start(*, name: str, slug: str, tier: Tier, actor: Actor) -> FirstStart | None:
    """Create what a new installation needs, or return None if a project exists."""
    if Project.objects.exists():
        return None
    password = None
    if not User.objects.exists():
        password = generated_password()
        staff_create(username=ADMIN_NAME, is_owner=True, password=password, actor=actor)
    project, tokens = project_with_keys(name=name, slug=slug, tier=tier, actor=actor)
    return FirstStart(project, password, tokens)


@transaction.atomic
def project_with_keys(*, name: str, slug: str, tier: Tier, actor: Actor) -> tuple[Project, Tokens]:
    """Create a project whose environments have the initial content and a key of each kind."""
    project = project_open(name=name, slug=slug, tier=tier, actor=actor)
    tokens: Tokens = {}
    for environment in project.environments.all():
        for kind in KeyKind:
            new = api_key_create(
                environment=environment, kind=kind, name=f"First {kind} key", actor=actor
            )
            tokens[environment.slug, kind] = new.token
    return project, tokens


def generated_password() -> str:
    return secrets.token_urlsafe(12)


def credential_lines(username: str, password: str | None, tokens: Tokens) -> list[tuple[str, str]]:
    """New secrets for display, as labels and texts. Print them before the transaction that creates
    them is committed, so that an interruption cannot lose them."""
    lines = [("sign in", f"{username} / {password}")] if password else []
    lines += [(f"{environment} {kind}", token) for (environment, kind), token in tokens.items()]
    shown = [what for what, new in (("the password", password), ("the keys", tokens)) if new]
    if shown:
        lines.append(("store", f"{' and '.join(shown)}: they are not shown again"))
    return lines


def missing_migrations() -> int:
    """How many migrations the database lacks. Reads the names of files: loading the migrations
    takes a tenth of the time that Ilara takes to start."""
    applied = MigrationRecorder(connection).applied_migrations().keys()
    return len(set(_migrations()) - applied)


def _migrations() -> Iterator[tuple[str, str]]:
    """The migrations of the installed apps, as app labels and names."""
    for app in apps.get_app_configs():
        folder = Path(app.path) / "migrations"
        for file in folder.glob("[!_~]*.py"):
            yield app.label, file.stem
