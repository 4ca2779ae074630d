"""The timeline of a player."""

from datetime import datetime

import pytest
from django.db import connection

from events.timeline import (
    PAGE_SIZE,
    TimelineEntry,
    TimelineEvent,
    TimelineKind,
    TimelineSession,
    timeline,
)
from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import make_player


@pytest.fixture
def busy(player: Player, public_api: Api) -> Player:
    """A player with 2 sessions, 2 purchases and 60 events, 50 of which arrived in one batch."""
    for number in range(2):
        public_api.post(f"{PLAYERS}/{player.pk}/session", {"duration_seconds": 70 + number})
        public_api.post(f"{PLAYERS}/{player.pk}/purchase?amount=4.99")
    for number in range(10):
        public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": f"single_{number}"})
    batch = [
        {"player_id": str(player.pk), "event_name": "many", "properties": {"n": number}}
        for number in range(50)
    ]
    public_api.post(f"{EVENTS}/batch", {"events": batch})
    return player


def all_entries(player: Player, **options: object) -> list[TimelineEntry]:
    found: list[TimelineEntry] = []
    before = ""
    while True:
        page = timeline(player.pk, before=before, **options)  # type: ignore[arg-type]
        found += page.entries
        if not page.older:
            return found
        assert len(page.entries) == PAGE_SIZE
        before = page.older


def test_pages__contain_each_entry_once_newest_first(busy: Player) -> None:
    found = all_entries(busy)
    assert len(found) == 64
    assert len({(entry.kind, entry.tie) for entry in found}) == 64
    order = [(entry.at, entry.kind, entry.tie) for entry in found]
    assert order == sorted(order, reverse=True)
    batch = [
        entry.detail.properties["n"]
        for entry in found[:50]
        if isinstance(entry.detail, TimelineEvent)
    ]
    assert batch == list(range(49, -1, -1))


def test_kind_and_event_name__filter_entries(busy: Player) -> None:
    assert {entry.kind for entry in all_entries(busy, kind=TimelineKind.SESSION)} == {
        TimelineKind.SESSION
    }
    assert len(all_entries(busy, kind=TimelineKind.PURCHASE)) == 2
    assert len(all_entries(busy, kind=TimelineKind.EVENT, event_name="many")) == 50
    assert not all_entries(busy, kind=TimelineKind.EVENT, event_name="man")


def test_other_player__has_separate_entries_and_cursors(
    busy: Player, environment: Environment
) -> None:
    other = make_player(environment, "other")
    assert not timeline(other.pk).entries
    cursor = timeline(busy.pk).older
    assert timeline(other.pk, before=cursor) == timeline(other.pk)
    assert timeline(busy.pk, before="nonsense") == timeline(busy.pk)


def test_page__uses_one_statement(busy: Player) -> None:
    connection.force_debug_cursor = True
    try:
        before = len(connection.queries_log)
        timeline(busy.pk)
        assert len(connection.queries_log) == before + 1
    finally:
        connection.force_debug_cursor = False


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0 s"), (70, "1 min 10 s"), (3700, "1 h 1 min")]
)
def test_duration__has_at_most_two_units(seconds: int | None, text: str) -> None:
    assert TimelineSession(None, datetime.now().astimezone(), seconds).duration == text


def test_late_event__has_its_client_time(player: Player, public_api: Api) -> None:
    body = {"player_id": str(player.pk), "event_name": "x", "timestamp": "2026-01-01T00:00:00Z"}
    public_api.post(EVENTS, body)
    (entry,) = timeline(player.pk).entries
    assert entry.late is not None
    assert entry.late.isoformat() == "2026-01-01T00:00:00+00:00"
