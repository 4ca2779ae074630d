"""Search and filter fields."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from ilara_admin.models import Environment, Role
from segments.lists.services import ids_add
from segments.models import Segment
from tests.api_client import EVENTS, Api
from tests.factories import ACTOR, make_player
from tests.pages import HTMX, text_of, url_of

pytestmark = pytest.mark.django_db
AROUND = [" {} ", "\u00a0{}\t", "\u200b{}\ufeff", "\u2068{}\u2069\r\n"]
FILTERS = [
    ("player_list", "q", "t3"),
    ("find", "q", "t3"),
    ("segment_list", "q", "beta-testers"),
    ("flag_list", "q", "new_tutorial"),
    ("event_tail", "name", "level_up"),
    ("event_tail", "player", "t3"),
    ("audit_list", "object", "beta-testers"),
    ("audit_list", "actor", "Ada"),
    ("reference", "q", "purchase"),
]


@pytest.fixture
def viewer(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.VIEWER)


@pytest.mark.parametrize(("page", "field", "text"), FILTERS)
def test_every_field__ignores_outer_white_space(
    page: str, field: str, text: str, viewer: Client, environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, "t3")
    make_player(environment, "u4")
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "level_up"})
    ids_add(segment_of(environment), ["t3"], excluded=False, actor=ACTOR)
    url = url_of(environment, page)

    def found(typed: str) -> Any:
        response = viewer.get(f"{url}?{field}={quote(typed)}")
        if response.status_code == 302:
            return response["Location"]
        context: Any = response.context
        rows = context.get("rows") or context.get("page") or context.get("groups") or []
        rows = getattr(rows, "rows", rows)
        return [row["id"] if isinstance(row, dict) and "id" in row else str(row) for row in rows]

    wanted = found(text)
    assert wanted
    assert wanted != found("nothing like it")
    for around in AROUND:
        assert found(around.format(text)) == wanted


def segment_of(environment: Environment) -> Segment:
    segments = Segment.objects.select_related("environment__project")
    return segments.get(environment=environment, key="beta-testers")


@pytest.mark.parametrize("spelling", [str, lambda pk: str(pk).upper(), lambda pk: pk.hex])
def test_player_id__finds_in_any_spelling(
    spelling: Callable[[Any], str], viewer: Client, environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, "t3")
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "level_up"})
    ids_add(segment_of(environment), ["t3"], excluded=False, actor=ACTOR)
    q = spelling(player.pk)
    for page in ("player_list", "find"):
        response = viewer.get(f"{url_of(environment, page)}?q={q}")
        assert response["Location"].endswith(f"/players/{player.pk}/")
    assert "level_up" in text_of(viewer.get(f"{url_of(environment, 'event_tail')}?player={q}"))
    lists = url_of(environment, "segment_lists", "beta-testers")
    assert ">t3</a>" in text_of(viewer.get(f"{lists}?q={q}"))
    for page, key in (("segment_detail", "beta-testers"), ("flag_detail", "new_tutorial")):
        tried = viewer.get(f"{url_of(environment, page, key)}?player={q}%20", headers=HTMX)
        assert "No player has" not in text_of(tried)


def test_external_id_in_the_form_of_a_player_id__comes_first(
    viewer: Client, environment: Environment
) -> None:
    other = make_player(environment, "t3")
    named = make_player(environment, str(other.pk))
    response = viewer.get(f"{url_of(environment, 'player_list')}?q={other.pk}")
    assert response["Location"].endswith(f"/players/{named.pk}/")
