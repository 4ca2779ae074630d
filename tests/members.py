"""Members of a project, for tests of who is notified of what."""

from django.test import Client

from ilara_admin.models import Environment, Role, User
from tests.factories import make_staff


def make_member(environment: Environment, role: Role, email: str = "") -> User:
    user = make_staff(role, "", environment.project)
    User.objects.filter(pk=user.pk).update(email=email)
    return User.objects.get(pk=user.pk)


def client_for(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
