"""The developers' page: what it says must be so."""

import json
import re
from html import unescape

from django.http import StreamingHttpResponse
from django.utils.text import slugify

from ilara_admin.api import rate_limits
from ilara_admin.api.errors import STATUS, Code
from ilara_admin.apidocs.clients import CLIENTS, FOLDER
from ilara_admin.apidocs.developer_views import ERROR_EXAMPLE, limits_text, quick_start
from ilara_admin.apidocs.operations import TAGS
from ilara_admin.models import Environment, KeyKind, Role, Tier
from players.models import Player, player_id_for
from tests.api_client import Api
from tests.factories import make_key
from tests.pages import signed_in, squeezed, text_of, url_of


def page_of(environment: Environment, role: Role = Role.VIEWER) -> str:
    return unescape(squeezed(text_of(signed_in(role).get(url_of(environment, "developers")))))


def test_errors__are_all_told_with_their_status(environment: Environment) -> None:
    page = page_of(environment)
    for code in Code:
        assert re.search(rf">{code}</td>\s*<td class=\"num\">{STATUS[code]}<", page)


def test_example_of_an_error__is_what_the_api_answers(environment: Environment) -> None:
    api = Api(make_key(environment).token)
    body = {"player_id": "123", "event_name": "x"}
    assert api.post("/v1/events/events", body).json == json.loads(ERROR_EXAMPLE)


def test_limits__are_what_is_counted_and_mark_the_projects(environment: Environment) -> None:
    told = {tier: figures for tier, *figures in limits_text()}
    assert list(told) == list(Tier)
    assert told.pop(Tier.ENTERPRISE) == ["Unlimited", "Unlimited"]
    assert told == {
        tier: [
            f"{policies[rate_limits.REQUESTS].limit:,}",
            f"{policies[rate_limits.EVENTS].limit:,}",
        ]
        for tier, policies in rate_limits.POLICIES.items()
    }
    page = page_of(environment)
    assert "Requests a minute" in page
    assert "Events a second" in page
    windows = [(rate_limits.REQUESTS, 60), (rate_limits.EVENTS, 1)]  # as the head of the table says
    for policies in rate_limits.POLICIES.values():
        assert [(policy.name, policy.window) for policy in policies.values()] == windows
    assert re.search(rf"Enterprise\s+<span[^>]*>{environment.project.name}<", page)


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


def test_reference__is_a_link_away_with_every_kind_of_call(environment: Environment) -> None:
    page = page_of(environment)
    for tag, _ in TAGS.values():
        assert f'href="{url_of(environment, "reference")}#{slugify(tag)}">{tag}</a>' in page
    assert 'href="http://testserver/v1/openapi.json" download=' in page
