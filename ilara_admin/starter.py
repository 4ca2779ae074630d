"""The initial content of an environment, with which the published examples work as printed."""

from typing import Any

from django.db import transaction

from flags.engine.document import Rule, boolean_document
from flags.services import flag_create
from ilara_admin.core.audit import Actor
from ilara_admin.core.projects import environment_create, project_create
from ilara_admin.models import Environment, Project, Tier
from segments.services import segment_create

SEGMENT: dict[str, Any] = {
    "key": "beta-testers",
    "name": "Beta testers",
    "description": "Players of level 40 and above, and VIPs.",
    "rule": {
        "operator": "OR",
        "conditions": [
            {"field": "level", "operator": ">=", "value": 40},
            {"field": "is_vip", "operator": "==", "value": True},
        ],
    },
}
FLAGS: tuple[dict[str, Any], ...] = (
    {
        "key": "new_tutorial",
        "name": "New tutorial",
        "description": "Beta testers get the new tutorial.",
        "document": boolean_document(
            enabled=True, rules=(Rule(id="beta", segment="beta-testers", variant="enabled"),)
        ),
    },
    {
        "key": "new-feature",
        "name": "New feature",
        "description": "An example to turn on: off for everyone.",
        "document": boolean_document(),
    },
)


@transaction.atomic
def environment_start(environment: Environment, actor: Actor) -> None:
    """Create the segment `beta-testers` and the flags `new-feature` and `new_tutorial`."""
    segment_create(environment=environment, actor=actor, **SEGMENT)
    for flag in FLAGS:
        flag_create(environment=environment, actor=actor, **flag)


@transaction.atomic
def environment_open(*, project: Project, slug: str, actor: Actor) -> Environment:
    """Create an environment with the initial content."""
    environment = environment_create(project=project, slug=slug, actor=actor)
    environment_start(environment, actor)
    return environment


@transaction.atomic
def project_open(*, name: str, slug: str, tier: Tier, actor: Actor) -> Project:
    """Create a project whose environments have the initial content."""
    project = project_create(name=name, slug=slug, tier=tier, actor=actor)
    for environment in project.environments.all():
        environment_start(environment, actor)
    return project
