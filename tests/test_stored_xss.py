"""Everything that a game client can write is escaped on every page."""

from collections.abc import Callable

import pytest
from django.test import Client

from events import log_reader
from ilara_admin.core.audit import Actor
from ilara_admin.models import Environment, Role
from segments.lists.services import ids_add
from segments.models import Segment
from tests.api_client import EVENTS, PLAYERS, Api

pytestmark = pytest.mark.django_db
NASTY = "<img src=x onerror=alert(1)>\"'`{{7*7}}</script>"


def test_everything_a_client_writes__is_escaped_on_every_page(
    environment: Environment, public_api: Api, staff_client: Callable[..., Client]
) -> None:
    body = {"external_id": NASTY, "device_id": NASTY, "email": NASTY}
    player = public_api.post(PLAYERS, {**body, "attributes": {NASTY: NASTY, "country": NASTY}}).data
    path = f"{PLAYERS}/{player['id']}"
    public_api.post(f"{path}/session", {"session_id": NASTY})
    purchase = {"amount": 1, "transaction_id": NASTY, "product_id": NASTY}
    assert public_api.post(f"{path}/purchase", purchase).status == 200
    event = {
        "player_id": player["id"],
        "event_name": NASTY,
        "event_id": NASTY,
        "session_id": NASTY,
        "properties": {NASTY: NASTY},
    }
    assert public_api.post(EVENTS, event).status == 201

    segment = Segment.objects.get(environment=environment, key="beta-testers")
    ids_add(segment, [NASTY, f"{NASTY}2"], excluded=False, actor=Actor(NASTY), reason=NASTY)

    (entry,) = log_reader.newest(environment.pk, 1)
    home = f"/{environment.project.slug}/{environment.slug}"
    at = entry.event.received_at.isoformat().replace("+", "%2B")
    client = staff_client(Role.ADMIN)
    for page in (
        "/", "/players/", f"/players/{player['id']}/", f"/players/{player['id']}/edit/",
        f"/players/{player['id']}/attributes/", f"/players/{player['id']}/segments/?show=out",
        f"/players/{player['id']}/export/", f"/players/{player['id']}/erase/",
        "/events/", "/events/?paused=1", f"/events/{entry.id}/?at={at}", "/audit/",
        "/find/?q=%3Cimg", "/segments/beta-testers/", "/segments/beta-testers/lists/",
        "/flags/new_tutorial/?player=%3Cimg", "/palette/?q=%3Cimg", "/palette/",
    ):  # fmt: skip
        response = client.get(home + page)
        html = response.content.decode()
        assert response.status_code == 200, page
        assert "<img src=x" not in html, page
        assert "</script>\"'" not in html, page
        assert "49</script>" not in html, page
        fragment = client.get(home + page, headers={"HX-Request": "true"})
        assert b"<img src=x" not in fragment.content, page
