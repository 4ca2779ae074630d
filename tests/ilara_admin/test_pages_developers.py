"""The developers' page: what it says must be so."""

import json
import re
from html import unescape

import pytest
from django.http import StreamingHttpResponse
from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

from ilara_admin.endpoint import Endpoint
from ilara_admin.errors import STATUS, Code
from ilara_admin.models import Environment, KeyKind, Role, Tier
from ilara_admin.pages.clients import CLIENTS, FOLDER
from ilara_admin.pages.developers import ERROR_EXAMPLE, LIMITS, groups, quick_start
from ilara_admin.services import environment_update
from players.models import Player, player_id_for
from tests.api_client import Api
from tests.factories import ACTOR, make_key
from tests.pages import signed_in, text_of, url_of

NOUNS = ("players/", "events/", "flags/", "segments/")


def endpoints() -> dict[tuple[str, str], Endpoint]:
    """What the API really has, by method and path."""
    found: dict[tuple[str, str], Endpoint] = {}

    def walk(patterns: list[URLPattern | URLResolver], before: str) -> None:
        for pattern in patterns:
            path = before + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, path)
                continue
            plain = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", r"{\1\2}", path)
            plain = plain.removeprefix("v1/").strip("^$").removesuffix("\\Z")
            for method, endpoint in getattr(pattern.callback, "endpoints", {}).items():
                if plain.startswith(NOUNS):
                    found[method, plain] = endpoint

    walk(get_resolver("ilara_admin.api_urls").url_patterns, "")
    return found


def page_of(environment: Environment, role: Role = Role.VIEWER) -> str:
    return unescape(text_of(signed_in(role).get(url_of(environment, "developers"))))


def test_table__names_exactly_the_endpoints_there_are() -> None:
    told = {(call.method, call.path): call for calls in groups().values() for call in calls}
    real = endpoints()
    assert set(told) == set(real)
    for place, call in told.items():
        wanted = real[place]
        assert (call.secret, call.basic) == (wanted.secret, wanted.basic or wanted.secret), place


def test_errors__are_all_told_with_their_status(environment: Environment) -> None:
    page = page_of(environment)
    for code in Code:
        assert re.search(rf">{code}</td><td class=\"num\">{STATUS[code]}<", page)


def test_example_of_an_error__is_what_the_api_answers(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    body = {"player_id": "123", "event_name": "x"}
    assert api.post("/v1/events/events", body).json == json.loads(ERROR_EXAMPLE)


def test_limits__name_every_tier_and_mark_the_projects(environment: Environment) -> None:
    assert [tier for tier, _, _ in LIMITS] == list(Tier)
    assert re.search(rf"Enterprise <span[^>]*>{environment.project.name}<", page_of(environment))


def test_quick_start__works_as_printed_from_top_to_bottom(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    player_id = player_id_for(environment.namespace, "player_123")
    for step in quick_start(str(player_id)):
        reply = api.post(f"/v1/{step.path}", step.body)
        assert reply.status in (200, 201), reply.body
        if step.answer:
            assert reply.json == json.loads(step.answer)
    assert Player.objects.get(environment=environment).pk == player_id


def test_lines__name_the_host_of_the_visitor_and_the_player(environment: Environment) -> None:
    client = signed_in(Role.VIEWER, headers={"host": "localhost:18082"})
    page = unescape(text_of(client.get(url_of(environment, "developers"))))
    assert 'curl -X POST "http://localhost:18082/v1/players/players"' in page
    assert str(player_id_for(environment.namespace, "player_123")) in page
    assert 'X-API-Key: $ILARA_KEY"' in page


def test_key__is_the_beginning_of_the_first_public_one_in_use(environment: Environment) -> None:
    assert 'ILARA_KEY="pk_live_…"' in page_of(environment)
    assert "Ask an admin" in page_of(environment)
    assert url_of(environment, "key_create") in page_of(environment, Role.ADMIN)
    make_key(environment, KeyKind.SECRET)
    new = make_key(environment)
    page = page_of(environment)
    assert f'ILARA_KEY="{new.key.prefix}…"' in page
    assert new.token not in page


def test_clients__are_downloaded_under_their_own_names(environment: Environment) -> None:
    client = signed_in(Role.VIEWER)
    page = unescape(text_of(client.get(url_of(environment, "developers"))))
    for offered in CLIENTS:
        link = re.search(rf'href="([^"]+)" download="{re.escape(offered.file)}"', page)
        assert link, offered.file
        reply = client.get(link[1])
        assert isinstance(reply, StreamingHttpResponse)
        assert reply.status_code == 200
        assert b"".join(map(bytes, reply)) == (FOLDER / offered.file).read_bytes()


def test_clients__are_shown_with_an_example_for_this_host(environment: Environment) -> None:
    client = signed_in(Role.VIEWER, headers={"host": "localhost:18082"})
    page = unescape(text_of(client.get(url_of(environment, "developers"))))
    examples = re.findall(
        r"<pre[^>]*>([^<]*localhost:18082/v1\"[^<]*new_tutorial[^<]*)</pre>", page
    )
    assert len(examples) == len(CLIENTS)
    for example in examples:
        assert '"http://localhost:18082/v1", "pk_live_…"' in example
        assert 5 <= len(example.splitlines()) <= 7


@pytest.mark.parametrize("restricted", [False, True])
def test_restricted_environment__tells_which_calls_need_a_secret_key(
    environment: Environment, restricted: bool
) -> None:
    environment_update(environment, {"public_keys_restricted": restricted}, actor=ACTOR)
    page = page_of(environment)
    for calls in groups().values():
        for call in calls:
            secret = call.secret or (restricted and not call.basic)
            row = next(
                row
                for row in page.split("<tr>")
                if f"<span>{call.method}</span> <span>{call.path}</span>" in row
            )
            assert (">Secret<" in row) == secret
    assert ("Public keys are restricted" in page) == restricted
