"""Players are found by anything that a ticket may name, and by the values that they have now."""

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ilara_admin.core.projects import environment_update
from ilara_admin.models import AuditEntry, Environment, Role
from players import values
from players.aliases import player_alias_link
from players.erasure import player_delete
from players.lookup import is_personal, mask_matched, players_found, ways_for
from players.models import Player, PlayerValue, ValueFill
from players.schemas import PlayerPatch
from players.services import player_update
from players.values import fill_shares, values_fill
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_player
from tests.pages import message_of, signed_in, text_of, url_of

NAME = "attributes.user_name"
FIELDS = ["email", "device_id", NAME]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", None),
        ("a" * 256, None),
        ("a\0", None),
        ("player_1", {"player_id"}),
        ("0190d1f0-0000-7000-8000-000000000000", set()),
        ("0190D1F000007000800000000000000A", set()),
        ("Ana Lopez", {"player_id", "email"}),
        ("a" * 200, {"player_id", "transaction", "session"}),
    ],
)
def test_ways__depend_on_the_text(text: str, missing: set[str] | None) -> None:
    every = {"external_id", "linked_id", "player_id", "transaction", "session", *FIELDS}
    assert set(ways_for(text, FIELDS)) == (set() if missing is None else every - missing)


def test_personal_values__are_masked_by_their_way() -> None:
    assert [way for way in FIELDS if is_personal(way, ["user_name"])] == FIELDS
    assert not is_personal(NAME, ["other"])
    assert not is_personal("transaction", [])
    assert mask_matched("email", "ana@example.com") == "a***@example.com"
    assert mask_matched("device_id", "device-1") == "devi***"
    assert mask_matched("linked_id", "guest_1") == "g***"


# --- The values -----------------------------------------------------------------------------------


@pytest.fixture
def searchable(environment: Environment) -> Environment:
    declare(environment, "user_name")
    values_fill(environment.pk)
    return environment


def declare(environment: Environment, *names: str) -> Environment:
    given = {"searchable_attributes": sorted(names)}
    environment_update(environment, given, actor=ACTOR)
    environment.refresh_from_db()
    return environment


def stored(player_id: uuid.UUID | str) -> dict[str, str | None]:
    return dict(PlayerValue.objects.filter(player_id=player_id).values_list("field", "value"))


def ways(environment: Environment, *texts: str) -> list[str]:
    return [hit.way for text in texts for hit in players_found(environment, text, 5)]


def test_values__follow_every_write(searchable: Environment, public_api: Api) -> None:
    """Registration, PATCH, and edits by staff."""
    body: dict[str, Any] = {
        "external_id": "p1",
        "email": "Ana@Example.com",
        "attributes": {"user_name": " ÁNA ", "level": 3},
    }
    player = public_api.post(PLAYERS, body).data
    assert stored(player["id"]) == {NAME: "ána"}
    assert ways(searchable, "ANA@", "ána") == ["email", NAME]
    public_api.post(PLAYERS, {"external_id": "p1", "device_id": "Dev-1"})
    assert ways(searchable, "Dev-1") == ["device_id"]
    path = f"{PLAYERS}/{player['id']}"
    public_api.patch(path, {"email": None, "attributes": {"user_name": 12.50}})
    assert stored(player["id"]) == {NAME: "12.5"}
    assert ways(searchable, "ana@", "ána", "Dev-1", "12.5") == ["device_id", NAME]
    edited = PlayerPatch(device_id=None, attributes={"user_name": ["a"], "level": 4})
    player_update(Player.objects.get(), edited, actor=ACTOR)
    assert stored(player["id"]) == {NAME: None}
    assert ways(searchable, "Dev-1", "12.5") == []


def test_values__follow_many_declared_attributes(
    environment: Environment, public_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "MAX_WATCHED", 1)
    declare(environment, "guild", "user_name")
    values_fill(environment.pk)
    player = public_api.register(attributes={"user_name": "Ana", "guild": "A"})
    public_api.register(attributes={"user_name": "Bo"})
    assert stored(player["id"]) == {NAME: "bo", "attributes.guild": "a"}


def test_other_writes__do_not_touch_the_values(searchable: Environment) -> None:
    """Neither counters nor other attributes nor the same values again."""
    player = make_player(searchable, email="a@b.c", device_id="d", attributes={"user_name": "ana"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(xmin::text || ctid) FROM player_value")
        (before,) = cursor.fetchone()
        Player.objects.filter(pk=player.pk).update(session_count=3)
        Player.objects.filter(pk=player.pk).update(
            email="a@b.c", device_id="d", attributes={"user_name": "ana"}
        )
        Player.objects.filter(pk=player.pk).update(attributes={"user_name": "ana", "level": 2})
        cursor.execute("SELECT array_agg(xmin::text || ctid) FROM player_value")
        assert cursor.fetchone() == (before,)


def test_erasure__deletes_the_values(searchable: Environment) -> None:
    player = make_player(searchable, email="a@b.c", attributes={"user_name": "ana"})
    assert player_delete(player, actor=ACTOR)["player_value"] == 1
    assert not stored(player.pk)


def test_declared_attribute__is_filled_in_by_a_job(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "BATCH", 2)
    for number in range(5):
        make_player(environment, f"p{number}", attributes={"user_name": f"Name {number}"})
    declare(environment, "user_name")
    values.attributes_watch()
    late = make_player(environment, "late", attributes={"user_name": "Late"})
    assert fill_shares(environment) == {NAME: 0.0}
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs WHERE task_name = %s", [values.TASK])
        assert cursor.fetchone() == (f'{{"environment_id": {environment.pk}}}',)
    fill = ValueFill.objects.get()
    assert values.fill_advance(fill)
    assert 0 < fill_shares(environment)[NAME] < 1
    values_fill(environment.pk)
    assert fill_shares(environment) == {}
    filled = PlayerValue.objects.filter(field=NAME).values_list("value", flat=True)
    assert sorted(map(str, filled)) == ["late", *(f"name {number}" for number in range(5))]
    assert stored(late.pk)

    declare(environment)
    assert players_found(environment, "late", 9)[0].way == "external_id"
    assert fill_shares(environment) == {}
    values_fill(environment.pk)
    assert not PlayerValue.objects.exists()
    assert not ValueFill.objects.exists()


def test_value_that_changes_during_the_fill__is_the_newer_one(environment: Environment) -> None:
    """The job has read the old value when the row of the new one appears."""
    player = make_player(environment, attributes={"user_name": "old"})
    declare(environment, "user_name")
    PlayerValue.objects.create(player=player, field=NAME, environment=environment, value=None)
    values.fill_advance(ValueFill.objects.get())
    assert stored(player.pk) == {NAME: None}


def test_declared_again__forgets_what_was_stored_before(environment: Environment) -> None:
    player = make_player(environment, attributes={"user_name": "old"})
    declare(environment, "user_name")
    values_fill(environment.pk)
    declare(environment)
    Player.objects.filter(pk=player.pk).update(attributes={})
    declare(environment, "user_name")
    values_fill(environment.pk)
    assert stored(player.pk) == {}


def test_fill__waits_until_postgresql_cancels_an_autovacuum(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('deadlock_timeout')::interval < %s::interval", [values.PATIENCE]
        )
        assert cursor.fetchone() == (True,)


# --- Finding --------------------------------------------------------------------------------------


@pytest.fixture
def found_player(searchable: Environment, public_api: Api) -> Player:
    player = make_player(
        searchable,
        "p1",
        email="Ana@example.com",
        device_id="Device-7",
        attributes={"user_name": "Dragón Slayer"},
    )
    player_alias_link(player, "guest_1", actor=ACTOR)
    path = f"{PLAYERS}/{player.pk}"
    public_api.post(f"{path}/purchase", {"amount": 4.99, "transaction_id": "GPA.1"})
    public_api.post(f"{path}/session", {"session_id": "session-1"})
    other = make_environment()
    make_player(other, "p1", email="ana@example.com", device_id="Device-7")
    return player


EXACT = {
    "external_id": ["p1"],
    "linked_id": ["guest_1"],
    "player_id": [],
    "email": ["ana@example.com", "ANA@EXAMPLE.COM"],
    "device_id": ["Device-7"],
    "transaction": ["GPA.1"],
    "session": ["session-1"],
    NAME: ["dragón slayer", "DRAGÓN SLAYER"],
}
PREFIXES = {
    "external_id": "p",
    "linked_id": "gue",
    "email": "ANA@",
    "device_id": "Dev",
    NAME: "dragón",
}
NOTHING = ["P1", "device-7", "gpa.1", "GPA.", "session", "slayer", "%", "_", "ana@example.comm"]


def test_player__is_found_in_every_way_by_one_statement(found_player: Player) -> None:
    environment = found_player.environment
    texts = {**EXACT, "player_id": [str(found_player.pk), found_player.pk.hex.upper()]}
    for way, spellings in texts.items():
        for text in spellings:
            with CaptureQueriesContext(connection) as queries:
                (hit,) = players_found(environment, text, 5)
            assert (hit.way, hit.exact, hit.player_id) == (way, True, found_player.pk)
            assert len(queries) == 1
    for way, text in PREFIXES.items():
        (hit,) = players_found(environment, text, 5)
        assert (hit.way, hit.exact) == (way, False)
        assert players_found(environment, text, 5, whole=[way]) == []
    for text in NOTHING:
        assert players_found(environment, text, 5) == [], text


def test_exact_matches__come_first(searchable: Environment) -> None:
    for number in range(4):
        make_player(searchable, f"x{number}", attributes={"user_name": f"ana{number or ''}"})
    hits = players_found(searchable, "ANA", 3)
    assert [hit.matched for hit in hits] == ["ana", "ana1", "ana2"]
    assert [hit.exact for hit in hits] == [True, False, False]


def test_search__reads_indexes_only(found_player: Player) -> None:
    with CaptureQueriesContext(connection) as queries:
        players_found(found_player.environment, "Device-7", 5)
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"
            "SET LOCAL enable_sort = off"
        )
        cursor.execute("EXPLAIN " + queries[0]["sql"].replace("%", "%%"), [])
        plan = " ".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    indexes = ("player_search", "alias_search", "player_email", "player_device_id")
    for index in (*indexes, "session_digest", "player_value_search"):
        assert f"using {index} " in plan
    assert re.search(
        r"using player_email [^>]*Index Cond: [^>]*lower\(+email\)::text\)+::text >= ", plan
    )
    assert re.search(r"using player_device_id [^>]*Index Cond: [^>]*device_id\)::text >= ", plan)


# --- The page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUPPORT])
def test_single_exact_match__opens_the_player(role: Role, found_player: Player) -> None:
    environment, client = found_player.environment, signed_in(role)
    player = url_of(environment, "player_detail", found_player.pk)
    for way, (text, *_) in {**EXACT, "player_id": [str(found_player.pk)]}.items():
        response = client.get(url_of(environment, "find"), {"q": text})
        where, _, fragment = response["Location"].partition("#")
        assert where.partition("?")[0] == player
        assert bool(fragment.startswith("purchase-")) == (way == "transaction")
        assert (text in message_of(response)) == (way not in ("external_id", "player_id"))


def test_several_matches__are_listed_with_what_matched(found_player: Player) -> None:
    environment = found_player.environment
    make_player(environment, "p2", email="ana@example.org", device_id="Device-7")
    url = url_of(environment, "find")
    support, viewer = signed_in(Role.SUPPORT), signed_in(Role.VIEWER)

    page = text_of(support.get(url, {"q": "ana@"}))
    assert "E-mail address</h2>" in page
    assert "ana@example.org" in page
    assert ">p1</a>" in page
    seen = {"object_type": "player", "action": "player.data_seen"}
    assert AuditEntry.objects.filter(**seen).count() == 2, "each reveal is in the audit log"
    support.get(url, {"q": "ana@"})
    assert AuditEntry.objects.filter(**seen).count() == 2

    page = text_of(viewer.get(url, {"q": "ana@"}))
    assert "Nothing found" in page
    assert "whole value only" in page
    page = text_of(viewer.get(url, {"q": "Device-7"}))
    assert "Devi***" in page
    assert '<span class="muted mono">Device-7' not in page
    assert AuditEntry.objects.filter(**seen).count() == 2


def test_page__says_what_was_tried(searchable: Environment) -> None:
    page = text_of(signed_in().get(url_of(searchable, "find"), {"q": "nobody"}))
    assert "Nothing found" in page
    for label in ("External id", "Linked id", "E-mail address", "Transaction", "Session"):
        assert f"<bdi>{label}</bdi>" in page
    assert "<bdi>Player id</bdi>" not in page
    assert '<span class="mono">user_name</span>' in page
    assert "still being collected" not in page
    declare(searchable, "user_name", "guild")
    page = text_of(signed_in().get(url_of(searchable, "find"), {"q": "nobody"}))
    assert "Values of <bdi>guild</bdi> are still being collected: 0% of" in page
    page = text_of(signed_in().get(url_of(searchable, "environment_settings")))
    assert "guild: values of 0% of the players collected" in page
