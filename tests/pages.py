"""Pages of the dashboard: signed-in clients, and the URLs of all pages."""

import re
import threading
from itertools import product
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.contrib.messages import get_messages
from django.db import connections, transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import NoReverseMatch, reverse

from ilara_admin.models import AuditEntry, Environment, Role
from ilara_admin.web.routes import Page, all_pages
from tests.factories import World, make_session, make_staff

HTMX = {"HX-Request": "true"}


def signed_in(role: Role = Role.ADMIN, **options: Any) -> Client:
    client = Client(**options)
    client.cookies[settings.SESSION_COOKIE_NAME] = make_session(make_staff(role))
    return client


def url_of(environment: Environment, name: str, *args: object) -> str:
    return reverse(name, args=[environment.project.slug, environment.slug, *args])


def text_of(response: HttpResponseBase) -> str:
    assert isinstance(response, HttpResponse)
    return response.content.decode()


def squeezed(html: str) -> str:
    """HTML without line breaks after opening tags and before closing tags."""
    return re.sub(r"\s*\n\s*(?=</)", "", re.sub(r"(<[a-z][^<>]*>)\s*\n\s*", r"\1", html))


def message_of(response: Any) -> str:
    """The messages that the next page will show."""
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def tone_of(response: Any) -> str:
    """The tone of the newest message: ok, info, warn or danger."""
    *_, message = get_messages(response.wsgi_request)
    tone: str = message.level_tag
    return tone


PAGES = {page.name: page for page in all_pages()}


def address(page: Page, world: World) -> tuple[str, bool]:
    """A URL of the page, and whether every object in it exists."""
    project, environment = world.environment.project.slug, world.environment.slug
    pks = {"keys": world.key.pk, "requests": world.request.pk, "settings": world.freeze.pk}
    keys = {
        "segments": "beta-testers",
        "metrics": "sessions",
        "experiments": "bigger-button",
    }
    known: dict[str, list[object]] = {
        "project": [project],
        "environment": [environment],
        "player_id": [world.player.id],
        "operation_id": ["purchase_record"],
        "rule_id": ["beta"],
        "number": [1],
        "entry_id": [world.entry.pk],
        "other": ["test"],
        "state": ["on", "archive"],
        "action": ["archive"],
        "page": ["flag_list"],
        "group_key": ["economy"],
        "pk": [pks.get(page.section, world.members[Role.VIEWER].pk)],
        "key": [keys.get(page.section, "new_tutorial")],
    }
    made_up: dict[str, list[object]] = {
        "int": [AuditEntry.objects.values_list("pk", flat=True)[0]],
        "uuid": [world.player.id],
        "anycaseuuid": [world.player.id],
    }
    choices = [
        known.get(name) or made_up.get(kind, ["made-up"]) for name, kind in page.parameters.items()
    ]
    for values in product(*choices):
        try:
            arguments = dict(zip(page.parameters, values, strict=True))
            return reverse(page.name, kwargs=arguments), set(page.parameters) <= set(known)
        except NoReverseMatch:
            continue
    raise AssertionError(f"add the parameters of {page.route} to `known`")


def wait_for_followers() -> None:
    """Wait for the threads that follow the event log. They end after their last reader, with a poll
    that would fail after the end of the test."""
    for thread in threading.enumerate():
        if thread.name.startswith("events-"):
            thread.join()


def ask(client: Client, method: str, url: str) -> HttpResponseBase:
    """One request without data, whose changes are rolled back.

    A stream closes its database connection before its first byte, but the test still needs it.
    """
    with patch.object(connections["default"], "close"), transaction.atomic():
        response = client.generic(method, url, content_type="application/x-www-form-urlencoded")
        if response.streaming:
            response.close()
            wait_for_followers()
        transaction.set_rollback(True)
    return response
