"""The Live events page: filters, past events, states, downloads, and what each role sees."""

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from events import log_reader, search
from ilara_admin.models import AuditEntry, Environment, Role
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.pages import HTMX, text_of, url_of

pytestmark = pytest.mark.django_db
SECRET = "0171-555-42"
EMAIL = "ann.smith@example.com"
PERSONAL = {"phone": SECRET, "note": f"mail {EMAIL}", "level": 5}


@pytest.fixture
def live(environment: Environment, player: Player, public_api: Api) -> Environment:
    """An environment with events: `bought` has personal properties, `started` a level of 1 to 3."""
    Environment.objects.filter(pk=environment.pk).update(personal_properties=["phone"])
    for level in (1, 2, 3):
        track(public_api, player, "started", {"level": level})
    track(public_api, player, "bought", PERSONAL)
    return environment


def track(api: Api, player: Player, name: str, properties: dict[str, Any]) -> None:
    event = {"player_id": str(player.pk), "event_name": name, "properties": properties}
    assert api.post(EVENTS, event).status == 201


def rows_in(html: str) -> list[str]:
    """The properties of the rows."""
    found = re.findall(r'<tr id="event-\d+">.*?data-col="minor">\s*(.*?)\s*</td>', html, re.DOTALL)
    return [each.replace("&quot;", '"') for each in found]


type Clients = Callable[..., Client]


# --- Filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        ({"prop": "level", "operator": "at_least", "operand": "3"}, [5, 3]),
        ({"prop": "level", "operator": "equals", "operand": "2"}, [2]),
        ({"prop": "level", "name": "started"}, [3, 2, 1]),
        ({"prop": "level", "operator": "at_most", "operand": "2", "player": "player_123"}, [2, 1]),
        ({"prop": "nothing"}, []),
    ],
)
def test_filter_by_a_property__shows_matching_events(
    query: dict[str, str], levels: list[int], live: Environment, staff_client: Clients
) -> None:
    html = text_of(staff_client().get(url_of(live, "event_tail"), query))
    assert [json.loads(each)["level"] for each in rows_in(html)] == levels
    assert "Property:" in html
    assert f"prop={query['prop']}" in re.findall(r'sse-connect="([^"]+)"', html)[0]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"prop": "level", "operator": "equals"}, "Give a value"),
        ({"prop": "level", "operator": "at_least", "operand": "x"}, "needs a number"),
        ({"start": "2026-03-02T00:00", "end": "2026-03-01T00:00"}, "must be later than"),
        ({"start": "yesterday"}, "Give a date and a time"),
    ],
)
def test_filter_that_is_not_valid__shows_why_and_no_events(
    query: dict[str, str], problem: str, live: Environment, staff_client: Clients
) -> None:
    html = text_of(staff_client().get(url_of(live, "event_tail"), query))
    assert problem in html
    assert "sse-connect" not in html
    assert rows_in(html) == []


# --- Past events ----------------------------------------------------------------------------------


def test_time_range__shows_past_events_in_the_zone_of_the_reader(
    live: Environment, staff_client: Clients
) -> None:
    client = staff_client()
    now = timezone.now()
    texts = [f"{now + timedelta(minutes=ago):%Y-%m-%dT%H:%M}" for ago in (-5, 5)]
    url = url_of(live, "event_tail")
    html = text_of(client.get(url, {"start": texts[0], "end": texts[1], "name": "started"}))
    assert len(rows_in(html)) == 3
    assert "Past events, not live" in html
    assert "sse-connect" not in html
    html = text_of(client.get(url, {"end": texts[0]}))
    assert "No event in this time range matches." in html


def test_limited_search__says_how_far_it_looked_and_continues(
    live: Environment, staff_client: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_CHUNK", 1)
    monkeypatch.setattr(search, "LOOKED_EVENTS", 1)
    client, url = staff_client(), url_of(live, "event_tail")
    query = {"prop": "level", "operator": "equals", "operand": "3", "start": "2026-01-01T00:00"}
    html = text_of(client.get(url, query))
    assert rows_in(html) == []
    assert "Looked back to" in html
    further = re.findall(r'href="([^"]*before=[^"]*)"', html)[0].replace("&amp;", "&")
    assert [json.loads(each)["level"] for each in rows_in(text_of(client.get(further)))] == [3]


# --- States ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "Connecting"),
        ({"paused": "1"}, "Paused"),
        ({"mode": "poll"}, "Full: this server has no free stream"),
        ({"end": "2026-01-01T00:00"}, "Past events, not live"),
    ],
)
def test_state__is_said_in_words(
    query: dict[str, str], words: str, live: Environment, staff_client: Clients
) -> None:
    html = text_of(staff_client().get(url_of(live, "event_tail"), query))
    assert words in html
    reloads = 'http-equiv="refresh"' in html  # without JavaScript
    assert reloads == ("mode" in query)


def test_chart__follows_the_filter_by_name(live: Environment, staff_client: Clients) -> None:
    client, url = staff_client(), url_of(live, "event_rate")
    every = text_of(client.get(url))
    assert "Events per minute" in every
    assert "started" in every
    assert "bought" in every
    one = text_of(client.get(url, {"name": "bought", "prop": "level"}))
    assert "bought per minute" in one
    assert "started" not in one
    assert "counts are kept by name" in one


def test_paused_page__counts_matching_events(live: Environment, staff_client: Clients) -> None:
    first = log_reader.newest(live.pk, 10)[-1]
    query: dict[str, Any] = {
        "after": first.id,
        "prop": "level",
        "operator": "at_least",
        "operand": "3",
    }
    assert "2 new events" in text_of(staff_client().get(url_of(live, "event_pending"), query))


# --- Personal data --------------------------------------------------------------------------------


def texts(client: Client, live: Environment, query: str = "") -> dict[str, str]:
    """Everything that shows events, by name."""
    (entry, *_) = log_reader.newest(live.pk, 1)
    pages = [
        url_of(live, "event_tail") + f"?{query}",
        url_of(live, "event_tail") + f"?start=2026-01-01T00:00&{query}",
        url_of(live, "event_detail", entry.id)
        + f"?at={entry.event.received_at.isoformat().replace('+', '%2B')}",
    ]
    found = {page: text_of(client.get(page)) for page in pages}
    found |= {f"{page} in part": text_of(client.get(page, headers=HTMX)) for page in pages}
    for format in ("csv", "jsonl"):
        response: Any = client.post(
            url_of(live, "event_download") + f"?{query}", {"format": format}
        )
        found[format] = b"".join(response.streaming_content).decode()
    return found


def test_personal_properties_and_addresses__are_masked_for_viewers(
    live: Environment, staff_client: Clients
) -> None:
    for place, text in texts(staff_client(Role.VIEWER), live).items():
        assert "0***" in text, place
        assert "a***@example.com" in text, place
        assert SECRET not in text, place
        assert EMAIL not in text, place
    assert not AuditEntry.objects.filter(action="player.data_seen").exists()
    for place, text in texts(staff_client(Role.SUPPORT), live).items():
        assert SECRET in text, place
        assert EMAIL in text, place
    assert AuditEntry.objects.filter(action="player.data_seen").count() == 1


def test_list_of_one_player__is_audited_if_it_shows_personal_data(
    live: Environment, staff_client: Clients
) -> None:
    client, url = staff_client(Role.SUPPORT), url_of(live, "event_tail")
    seen = AuditEntry.objects.filter(action="player.data_seen")
    client.get(url)
    client.get(url, {"player": "player_123", "name": "started"})
    assert not seen.exists()
    client.get(url, {"player": "player_123"})
    assert seen.get().object_name == "player_123"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("prop=phone", "is personal data"),
        ("prop=phone&operator=contains&operand=0171", "is personal data"),
        (f"prop=note&operator=contains&operand={EMAIL}", "You see e-mail addresses masked"),
    ],
)
def test_filter_by_personal_data__is_refused_for_viewers(
    query: str, why: str, live: Environment, staff_client: Clients
) -> None:
    client = staff_client(Role.VIEWER)
    html = text_of(client.get(url_of(live, "event_tail") + f"?{query}"))
    assert why in html
    assert rows_in(html) == []
    for method, name, status in (
        (client.get, "event_stream", 403),
        (client.get, "event_pending", 404),
        (client.post, "event_download", 403),
    ):
        assert method(url_of(live, name) + f"?{query}").status_code == status, name
    assert not AuditEntry.objects.filter(action="environment.events_exported").exists()
    support = text_of(staff_client(Role.SUPPORT).get(url_of(live, "event_tail") + f"?{query}"))
    assert len(rows_in(support)) == 1


def test_parts_of_an_address__cannot_be_guessed_by_viewers(
    live: Environment, staff_client: Clients
) -> None:
    query = {"prop": "note", "operator": "contains", "operand": "ann"}
    url = url_of(live, "event_tail")
    assert len(rows_in(text_of(staff_client(Role.SUPPORT).get(url, query)))) == 1
    assert rows_in(text_of(staff_client(Role.VIEWER).get(url, query))) == []


# --- Downloads ------------------------------------------------------------------------------------


def test_download__has_the_filtered_events_newest_first(
    live: Environment, staff_client: Clients
) -> None:
    client = staff_client(Role.VIEWER)
    url = url_of(live, "event_download") + "?name=started&prop=level&operator=at_least&operand=2"
    response: Any = client.post(url, {"format": "csv"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [json.loads(row["properties"])["level"] for row in rows] == [3, 2]
    response = client.post(url, {"format": "jsonl"})
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert [json.loads(line)["properties"]["level"] for line in lines] == [3, 2]


def test_download__is_audited_without_the_value_of_the_filter(
    live: Environment, staff_client: Clients
) -> None:
    url = url_of(live, "event_download") + f"?prop=phone&operator=equals&operand={SECRET}"
    response: Any = staff_client(Role.SUPPORT).post(url, {"format": "jsonl"})
    assert len(list(response.streaming_content)) == 1
    entry = AuditEntry.objects.get(action="environment.events_exported")
    assert entry.after == {"property": "phone", "events": 1}


def test_formula__does_not_run_in_a_spreadsheet(
    live: Environment, player: Player, public_api: Api, staff_client: Clients
) -> None:
    track(public_api, player, "=1+1", {})
    response: Any = staff_client().post(url_of(live, "event_download"))
    assert ",'=1+1," in b"".join(response.streaming_content).decode()
