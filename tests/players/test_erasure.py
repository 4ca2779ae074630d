"""Export and erasure of a player."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from flags.models import Flag
from flags.overrides import override_set
from ilara_admin.models import AuditEntry, Environment
from players.aliases import player_alias_link, player_alias_unlink
from players.erasure import player_delete, player_export
from players.models import Player, player_id_for
from players.notes import note_add, note_delete
from players.player_data import registered
from players.schemas import PlayerPatch
from players.services import player_update
from segments.lists.services import ids_add
from segments.models import Segment
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_player

NAME = "hero-4711"
ALIAS = "guest-of-4711"
FORMER = "tablet-of-4711"


@pytest.fixture
def hero(environment: Environment, public_api: Api) -> Player:
    """A player with a row in every table."""
    player = make_player(environment, NAME, email="hero@example.com")
    path = f"{PLAYERS}/{player.pk}"
    public_api.post(f"{path}/session", {"session_id": "s-1"})
    public_api.post(f"{path}/purchase", {"amount": 4.99, "transaction_id": "t-1"})
    body = {"player_id": str(player.pk), "event_name": "start", "event_id": "e-1"}
    public_api.post(EVENTS, body)
    public_api.post(EVENTS, {**body, "event_name": "ilara.fake"})
    fake = {**body, "event_name": "ilara.fake", "player_id": str(player.pk).upper()}
    public_api.post(EVENTS, fake)
    for sent in (NAME, ALIAS, FORMER, str(player_id_for(environment.namespace, ALIAS))):
        assert public_api.post(EVENTS, {**body, "player_id": sent}).status in (400, 404)
    until = datetime.now(UTC) + timedelta(days=1)
    flag = Flag.objects.get(environment=environment, key="new-feature")
    override_set(flag, player, "enabled", actor=ACTOR, expires_at=until)
    ids_add(segment_of(environment), [NAME, "other", ALIAS], excluded=False, actor=ACTOR)
    player_alias_link(player, ALIAS, actor=ACTOR)
    player_alias_link(player, FORMER, actor=ACTOR)
    ids_add(segment_of(environment), [FORMER], excluded=True, actor=ACTOR)
    player_alias_unlink(player, FORMER, actor=ACTOR)
    note_add(player, "A note: hero wrote that the gems are gone", actor=ACTOR)
    undone = note_add(player, "hero wrote twice", actor=ACTOR)
    assert undone.after
    note_delete(player, undone.after["_note_id"], actor=ACTOR)
    patch = PlayerPatch(email="hero@example.org")
    player_update(player, patch, actor=ACTOR, reason="hero wrote to us")
    return player


def segment_of(environment: Environment) -> Segment:
    return Segment.objects.get(environment=environment, key="beta-testers")


def traces(player: Player) -> list[str]:
    """The tables with a row that contains the player's id or a name in any column."""
    known = [str(player.pk), NAME, ALIAS, FORMER, "hero@", "hero wrote"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        found = []
        for table in names:
            cursor.execute(
                f"""SELECT count(*) FROM "{table}" t
                    WHERE to_jsonb(t)::text ILIKE ANY(%s)""",
                [[f"%{each}%" for each in known]],
            )
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_every_table_with_player_data__is_registered(db: None) -> None:
    """Finds tables by column names and foreign keys. Partitions belong to their parents."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT c.relname FROM pg_class c
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               LEFT JOIN pg_constraint f ON f.conrelid = c.oid AND f.confrelid = 'player'::regclass
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                 AND NOT c.relispartition
                 AND (f.oid IS NOT NULL OR a.attname ~ 'player|external_id'
                      AND a.atttypid = ANY('{uuid,text,varchar,bytea,jsonb}'::regtype[]))"""
        )
        found = {name for (name,) in cursor.fetchall()}
    assert {"event", "purchase", "segment_former_member"} <= found
    assert found <= {"player", *(data.table for data in registered())}


def test_export__contains_every_table(hero: Player) -> None:
    document = player_export(Player.objects.get(pk=hero.pk), actor=ACTOR)
    assert document["player"]["email"] == "hero@example.org"
    counts = {name: len(rows) for name, rows in document.items() if name != "player"}
    assert counts == {
        "player_session": 1, "purchase": 1, "event": 3, "flag_override": 1, "segment_member": 2,
        "segment_former_member": 0, "player_alias": 1, "player_note": 1,
    }  # fmt: skip
    assert document["purchase"][0]["amount"] == 4.99
    assert document["player_alias"][0]["external_id"] == ALIAS
    assert document["player_note"][0]["text"].startswith("A note")


def test_erasure__leaves_no_trace_of_the_player(hero: Player, environment: Environment) -> None:
    assert "event" in " ".join(traces(hero))
    other = make_player(environment, "other")
    entries = AuditEntry.objects.count()
    gone = player_delete(hero, actor=ACTOR, reason="Asked for it")
    assert traces(hero) == []
    assert gone["event"] == 3
    assert segment_of(environment).included == 1
    assert Player.objects.get() == other
    assert AuditEntry.objects.count() == entries + 1
    newest = AuditEntry.objects.first()
    assert newest is not None
    assert (newest.action, newest.reason) == ("player.erased", "Asked for it")
    assert newest.object_name == "erased player"
    assert AuditEntry.objects.filter(object_id=newest.object_id).count() == 8


def test_unlinked_id_of_another_player__stays_in_the_audit_log(
    hero: Player, environment: Environment
) -> None:
    make_player(environment, FORMER)
    player_delete(hero, actor=ACTOR)
    lists = AuditEntry.objects.filter(object_type="segment").values_list("after", flat=True)
    assert [FORMER] in [(after or {}).get("ids") for after in lists]


def test_erased_player__can_register_as_a_new_one(hero: Player, public_api: Api) -> None:
    player_delete(hero, actor=ACTOR)
    assert public_api.get(f"{PLAYERS}/{hero.pk}").status == 404
    data = public_api.register(NAME)
    assert (data["id"], data["session_count"], data["email"]) == (str(hero.pk), 0, None)
    assert public_api.register(ALIAS)["id"] != str(hero.pk)


def test_commands__export_and_erase(hero: Player, environment: Environment) -> None:
    out = StringIO()
    call_command("player_export", str(environment), NAME, stdout=out)
    assert json.loads(out.getvalue())["player"]["external_id"] == NAME
    with pytest.raises(CommandError, match="Pass --yes"):
        call_command("player_delete", str(environment), NAME)
    call_command("player_delete", str(environment), NAME, yes=True, stdout=(out := StringIO()))
    assert "1 in player" in out.getvalue()
    with pytest.raises(CommandError, match="has no player"):
        call_command("player_export", str(environment), NAME)
