"""The timeline of a player."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from events.timeline import (
    PAGE_SIZE,
    TimelineAction,
    TimelineEntry,
    TimelineEvent,
    TimelineFilter,
    TimelineKind,
    TimelineSession,
    timeline,
)
from flags.models import Flag
from flags.overrides import override_set, overrides_clear
from ilara_admin.models import AuditEntry, Environment
from players.aliases import player_alias_link
from players.models import Player
from players.notes import note_add
from players.services import personal_data_seen
from segments.lists.services import ids_add
from segments.models import Segment
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_player


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


def all_entries(player: Player, **wanted: Any) -> list[TimelineEntry]:
    found: list[TimelineEntry] = []
    before = ""
    while True:
        page = timeline(player.pk, TimelineFilter(**wanted), before=before)
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
    assert len(all_entries(busy, kind=TimelineKind.SESSION, event_name="many")) == 50
    assert not all_entries(busy, event_name="man")


def test_text__is_found_in_properties_in_any_case(player: Player, public_api: Api) -> None:
    for number, name in enumerate(("Sword_7", "sword_8", "100%")):
        event = {"event_name": "found", "properties": {"item": name, "n": number}}
        public_api.post(EVENTS, {"player_id": str(player.pk), **event})

    def numbers(text: str, **more: Any) -> list[int]:
        found = [entry.detail for entry in all_entries(player, text=text, **more)]
        return [each.properties["n"] for each in found if isinstance(each, TimelineEvent)]

    assert numbers("SWORD_") == [1, 0]
    assert numbers("0%") == [2]
    assert numbers('"n": 1') == [1]
    assert numbers("sword", event_name="lost") == []


def test_times__limit_entries_by_arrival(busy: Player) -> None:
    entries = all_entries(busy)
    newest, oldest = entries[0].at, entries[-1].at
    assert all_entries(busy, since=newest)[-1].at == newest
    assert len(all_entries(busy, since=oldest)) == len(entries)
    until = all_entries(busy, until=newest)
    assert 0 < len(until) < len(entries)
    assert all(entry.at < newest for entry in until)
    assert not all_entries(busy, until=oldest)
    assert len(all_entries(busy, event_name="many", since=newest)) == 50


def test_search__stops_and_continues_where_it_stopped(
    busy: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a player with many events, a page looks through some, and says how far it came."""
    monkeypatch.setattr("events.timeline.SEARCHED", 20)
    wanted = TimelineFilter(event_name="single_3")
    before, found, pages = "", [], 0
    while True:
        page = timeline(busy.pk, wanted, before=before)
        found += page.entries
        pages += 1
        assert (page.searched_to is not None) == bool(page.older)
        if not page.older:
            break
        before = page.older
    assert [entry.detail.name for entry in found if isinstance(entry.detail, TimelineEvent)] == [
        "single_3"
    ]
    assert pages == 4  # 64 events, with those of sessions and purchases


def test_staff_actions__are_those_about_the_player_and_those_that_name_it(
    environment: Environment, player: Player
) -> None:
    other = make_player(environment, "other")
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    player_alias_link(player, "guest", actor=ACTOR)
    for each in (player, other):
        note_add(each, "Hello", actor=ACTOR)
        override_set(flag, each, "enabled", actor=ACTOR)
        personal_data_seen(each, actor=ACTOR, shown=True)
    overrides_clear(flag, actor=ACTOR)
    ids_add(segment, ["guest", "somebody"], excluded=False, actor=ACTOR)
    ids_add(segment, ["other"], excluded=False, actor=ACTOR)
    elsewhere = make_player(make_environment(), player.external_id)
    note_add(elsewhere, "Another player", actor=ACTOR)

    def actions(of: Player) -> list[str]:
        entries = [each.detail for each in all_entries(of, kind=TimelineKind.STAFF)]
        ids = [each.entry_id for each in entries if isinstance(each, TimelineAction)]
        found = AuditEntry.objects.in_bulk(ids)
        return [found[each].action for each in ids]

    assert actions(player) == [
        "segment.list_changed", "flag.overrides_replaced", "flag.overridden", "player.note_added",
        "player.alias_linked",
    ]  # fmt: skip
    assert actions(other) == [
        "segment.list_changed", "flag.overrides_replaced", "flag.overridden", "player.note_added",
    ]  # fmt: skip
    assert actions(elsewhere) == ["player.note_added"]


def test_staff_actions__are_found_by_their_indexes(player: Player) -> None:
    """Among many entries in the same environment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO audit_entry (environment_id, project_id, actor_name, action, object_type,
                                        object_id, object_name, after, reason, request_id)
               SELECT %s, %s, 'pia', 'flag.overridden', 'flag', 'f', 'f',
                      jsonb_build_object('player', 'player_' || n), '', ''
               FROM generate_series(1000, 5000) n""",
            [player.environment_id, player.environment.project_id],
        )
        cursor.execute("ANALYZE audit_entry")
    explained: list[str] = []

    def explain(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        with connection.connection.cursor() as own:
            explained.extend(line for (line,) in own.execute(f"EXPLAIN {sql}", params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        timeline(player.pk, TimelineFilter(TimelineKind.STAFF))
    plan = "\n".join(explained)
    assert "audit_player_time" in plan
    assert "audit_names_player" in plan
    assert "Seq Scan on audit_entry" not in plan


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


@pytest.mark.parametrize(
    ("started", "duration", "late"),
    [(0, None, False), (0, 600, False), (600, 600, False), (1_200, 600, True), (600, None, True)],
)
def test_session__is_late_if_it_was_reported_neither_at_its_start_nor_at_its_end(
    started: int, duration: int | None, late: bool
) -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    session = TimelineSession(None, at - timedelta(seconds=started), duration)
    entry = TimelineEntry(TimelineKind.SESSION, at, "", session)
    assert bool(entry.late) is late


def test_late_event__has_its_client_time(player: Player, public_api: Api) -> None:
    body = {"player_id": str(player.pk), "event_name": "x", "timestamp": "2026-01-01T00:00:00Z"}
    public_api.post(EVENTS, body)
    (entry,) = timeline(player.pk).entries
    assert entry.late is not None
    assert entry.late.isoformat() == "2026-01-01T00:00:00+00:00"
