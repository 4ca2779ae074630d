"""Eight concurrent creations of the same key: one succeeds, seven are refused."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from django.test import Client

from flags.models import Flag
from flags.services import flag_create
from ilara_admin.models import Environment, KeyKind, Project, Role, User
from players.models import PlayerAlias
from segments.models import Segment
from tests.api_client import Api
from tests.factories import ACTOR, make_environment, make_key, make_player
from tests.form_fields import fields_of
from tests.pages import signed_in, url_of
from tests.threads import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

TOGETHER = 8
type Send = Callable[[Client], Any]


class Kind(NamedTuple):
    """The page that creates the object, the posted data, and a count of objects with the key."""

    page: str
    data: dict[str, Any]
    count: Callable[[Environment], int]
    args: Callable[[Environment], list[object]] = lambda environment: []


def player_of(environment: Environment) -> list[object]:
    return [make_player(environment).pk]


def flags(environment: Environment) -> int:
    return Flag.objects.filter(environment__project=environment.project, key="new").count()


KINDS = {
    "project": Kind(
        "project_new",
        {"name": "New", "slug": "new", "tier": "free"},
        lambda environment: Project.objects.filter(slug="new").count(),
    ),
    "environment": Kind(
        "environment_new",
        {"slug": "new"},
        lambda environment: Environment.objects.filter(slug="new").count(),
    ),
    "flag": Kind(
        "flag_new",
        {"key": "new", "name": "", "value_type": "boolean", "environments": ["live", "test"]},
        lambda environment: flags(environment) // 2,
    ),
    "cloned flag": Kind(
        "flag_clone", {"key": "new", "name": ""}, flags, lambda environment: ["new_tutorial"]
    ),
    "segment": Kind(
        "segment_new",
        {"key": "new", "name": ""},
        lambda environment: Segment.objects.filter(environment=environment, key="new").count(),
    ),
    "staff": Kind(
        "staff_new",
        {"username": "new", "role": "viewer", "password": "correct horse battery"},
        lambda environment: User.objects.filter(username="new").count(),
    ),
    "alias": Kind(
        "player_alias_add",
        {"external_id": "new"},
        lambda environment: PlayerAlias.objects.filter(external_id="new").count(),
        player_of,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_key_created_by_8_requests_at_once__is_refused_7_times(name: str) -> None:
    kind, environment = KINDS[name], make_environment()
    url = url_of(environment, kind.page, *kind.args(environment))
    clients = [signed_in(Role.OWNER) for _ in range(TOGETHER)]
    data = kind.data
    if name == "segment":
        form = fields_of(clients[0].get(url).content.decode(), "editor")
        data = {**form, **data, "rule-0-field": "level", "rule-0-value": "1"}
    elif name == "flag":
        data = {**clients[0].get(url).context["form"].initial, **data}
    statuses = at_once(lambda client: client.post(url, data).status_code, clients)
    # Linking an id that is already linked to the player changes nothing.
    refused = 302 if name == "alias" else 422
    assert sorted(statuses) == sorted([302, *[refused] * (TOGETHER - 1)])
    assert kind.count(environment) == 1


def test_id_linked_to_8_players_at_once__is_refused_7_times() -> None:
    environment = make_environment()
    urls = [
        url_of(environment, "player_alias_add", make_player(environment, f"p{number}").pk)
        for number in range(TOGETHER)
    ]
    clients = [signed_in() for _ in urls]
    pairs = list(zip(clients, urls, strict=True))
    statuses = at_once(
        lambda pair: pair[0].post(pair[1], {"external_id": "new"}).status_code, pairs
    )
    assert sorted(statuses) == [302, *[422] * (TOGETHER - 1)]
    assert PlayerAlias.objects.count() == 1


def test_id_linked_by_8_requests_at_once__is_409_with_the_envelope() -> None:
    environment = make_environment()
    api = Api(make_key(environment, KeyKind.SECRET).token)
    paths = [
        f"/v1/players/players/{make_player(environment, f'p{number}').pk}/aliases"
        for number in range(TOGETHER)
    ]
    replies = at_once(lambda path: api.post(path, {"external_id": "new"}), paths)
    assert sorted(reply.status for reply in replies) == [201, *[409] * (TOGETHER - 1)]
    assert all(reply.error["code"] for reply in replies if reply.status == 409)


def test_key_that_exists_in_one_environment__creates_no_flag() -> None:
    environment = make_environment()
    flag_create(
        environment=environment,
        key="new",
        document=Flag.objects.get(environment=environment, key="new-feature").spec,
        actor=ACTOR,
    )
    response = signed_in().post(
        url_of(environment, "flag_new"),
        {"key": "new", "name": "", "value_type": "boolean", "environments": ["test", "live"]},
    )
    assert response.status_code == 422
    assert "already a flag" in response.content.decode()
    assert flags(environment) == 1
