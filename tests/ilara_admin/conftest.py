"""A project with its environments, and a browser for each role."""

from collections.abc import Callable

import pytest
from django.test import Client

from ilara_admin.audit import Actor
from ilara_admin.models import Environment, Project, Role, User
from ilara_admin.services import project_create, staff_create

PASSWORD = "a long enough password"
type SignedIn = Callable[[Role], Client]


@pytest.fixture
def actor() -> Actor:
    return Actor("tests")


@pytest.fixture
def project(db: None, actor: Actor) -> Project:
    return project_create(name="Skyforge", slug="skyforge", actor=actor)


@pytest.fixture
def live(project: Project) -> Environment:
    return project.environments.select_related("project").get(slug="live")


@pytest.fixture
def sandbox(project: Project) -> Environment:
    """The environment `test`."""
    return project.environments.select_related("project").get(slug="test")


@pytest.fixture
def staff(db: None, actor: Actor) -> dict[Role, User]:
    """One member of staff for each role, named like it."""
    return {
        role: staff_create(username=role.value, role=role, password=PASSWORD, actor=actor)
        for role in Role
    }


@pytest.fixture
def client_of(staff: dict[Role, User]) -> SignedIn:
    def sign_in(role: Role) -> Client:
        client = Client()
        client.force_login(staff[role])
        return client

    return sign_in


@pytest.fixture
def admin_client(client_of: SignedIn) -> Client:
    return client_of(Role.ADMIN)
