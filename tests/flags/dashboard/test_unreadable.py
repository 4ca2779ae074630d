"""Flags with an unreadable document, rule or segment: pages open and the switch works."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from flags.models import Flag
from flags.services import flag_restore
from ilara_admin.models import Environment, Role
from players.models import Player
from segments.models import Segment
from tests.api_client import Api
from tests.factories import ACTOR
from tests.pages import message_of, text_of, url_of

pytestmark = pytest.mark.django_db
BAD_CONDITIONS = {"operator": "AND", "conditions": [{"field": "level", "operator": "~"}]}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "conditions": ({"rules": [{"id": "r", "variant": "enabled", "conditions": BAD_CONDITIONS}]},
                   "Rule 1"),
    "variant": ({"rules": [{"id": "r", "variant": "gone"}]}, "Rule 1"),
    "field": ({"rules": [{"id": "r", "variant": "enabled"}, {"id": "s", "odd": 1}]}, "Rule 2"),
    "rules": ({"rules": "none"}, "rules"),
    "off": ({"off": "gone"}, "gone"),
    "variants": ({"variants": 7}, "variants"),
    "prerequisites": ({"prerequisites": [{"flag": 1}]}, "prerequisites"),
}  # fmt: skip
FLAG = "/v1/flags/flags/new_tutorial/evaluate"


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def store(environment: Environment, **parts: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE flag SET document = document || %s::jsonb
               WHERE environment_id = %s AND key = 'new_tutorial'""",
            [json.dumps(parts), environment.pk],
        )
        cursor.execute("UPDATE environment SET config_version = config_version + 1")


def the_flag(environment: Environment) -> Flag:
    return Flag.objects.get(environment=environment, key="new_tutorial")


@pytest.mark.parametrize("name", BAD)
def test_unreadable_flag__has_a_page_with_the_error_and_a_switch(
    name: str, client: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    parts, text = BAD[name]
    store(environment, **parts)
    page = text_of(client.get(url_of(environment, "flag_detail", "new_tutorial")))
    assert "This flag cannot be read." in page
    assert text in page.partition("cannot be read.")[2].partition("</div>")[0]
    switch = url_of(environment, "flag_switch", "new_tutorial", "off")
    assert switch in page
    assert text in text_of(client.get(switch))
    assert client.post(switch).status_code == 302
    flag = the_flag(environment)
    assert flag.document["enabled"] is False
    assert {key: flag.document[key] for key in parts} == parts
    on = client.post(url_of(environment, "flag_switch", "new_tutorial", "on"))
    assert on.status_code == 422
    reply = public_api.post(FLAG, {"player_id": str(player.pk)})
    assert (reply.status == 200) == (name not in ("off", "variants"))
    if reply.status == 200:
        assert reply.data["value"] is False


@pytest.mark.parametrize("name", BAD)
def test_other_pages__open_despite_an_unreadable_flag(
    name: str, client: Client, environment: Environment, player: Player
) -> None:
    store(environment, **BAD[name][0])
    listed = text_of(client.get(url_of(environment, "flag_list")))
    assert "Cannot be read" in listed
    for page, args in (
        ("player_detail", [player.pk]),
        ("segment_list", []),
        ("segment_detail", ["beta-testers"]),
        ("flag_detail", ["new-feature"]),
        ("overview", []),
        ("audit_list", []),
        ("find", []),
    ):
        assert client.get(url_of(environment, page, *args), {"q": "new"}).status_code == 200, page
    for page, args in (
        ("flag_rules", []), ("flag_variants", []), ("flag_prerequisites", []), ("flag_clone", []),
        ("flag_rollout", ["beta"]), ("flag_move", ["beta"]), ("flag_override", [player.pk]),
    ):  # fmt: skip
        response = client.get(url_of(environment, page, "new_tutorial", *args))
        assert "cannot be read" in message_of(response), page


def test_unreadable_flag__can_be_archived_or_restored(
    client: Client, environment: Environment
) -> None:
    store(environment, **BAD["conditions"][0])
    archive = url_of(environment, "flag_archive", "new_tutorial", "archive")
    assert "Rule 1" in text_of(client.get(archive))
    assert client.post(archive).status_code == 302
    assert "Archived" in text_of(client.get(url_of(environment, "flag_detail", "new_tutorial")))
    restore = url_of(environment, "flag_restore", "new_tutorial", 1)
    assert client.get(restore).status_code == 200
    assert client.post(restore).status_code == 302
    assert not the_flag(environment).problem


def test_restoring_an_unreadable_revision__is_refused(
    client: Client, environment: Environment
) -> None:
    flag = the_flag(environment)
    flag_restore(flag, 1, base_revision=1, actor=ACTOR)
    flag.revisions.filter(number=1).update(document={"odd": 1})
    restore = url_of(environment, "flag_restore", "new_tutorial", 1)
    assert "cannot be read" in text_of(client.get(restore))
    assert client.post(restore).status_code == 422


def test_flag_with_an_unreadable_segment__names_it(
    client: Client, environment: Environment, player: Player
) -> None:
    Segment.objects.filter(environment=environment).update(rule=BAD_CONDITIONS)
    page = text_of(client.get(url_of(environment, "flag_detail", "new_tutorial")))
    assert "beta-testers" in page.partition("cannot be read")[0].rpartition("The segment")[2]
    for name, args in (
        ("flag_list", []), ("player_detail", [player.pk]), ("segment_detail", ["beta-testers"]),
        ("flag_switch", ["new_tutorial", "off"]), ("segment_members", ["beta-testers"]),
        ("flag_rollout", ["new_tutorial", "beta"]),
    ):  # fmt: skip
        assert client.get(url_of(environment, name, *args)).status_code == 200, name
    assert client.post(url_of(environment, "flag_switch", "new_tutorial", "off")).status_code == 302
