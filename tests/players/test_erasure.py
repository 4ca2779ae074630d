"""Export and erasure of a player."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from events.models import EventName
from events.rollups import fold
from events.services import event_name_describe
from flags.engine.document import Rule, boolean_document
from flags.models import Flag
from flags.overrides import override_remove, override_set
from flags.services import flag_create
from ilara_admin.models import AuditEntry, Environment
from players.aliases import player_alias_link, player_alias_unlink
from players.erasure import player_delete, player_export
from players.models import Player, player_id_for
from players.notes import note_add, note_delete
from players.player_data import registered
from players.schemas import PlayerPatch
from players.services import player_update
from segments.lists.services import (
    ids_add,
    ids_remove,
    list_import,
    list_run,
    upload_keep,
    upload_read,
)
from segments.models import Segment, SegmentListChange
from segments.services import segment_create, segment_update
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import (
    ACTOR,
    make_constant_flag,
    make_experiment,
    make_exposure,
    make_metric,
    make_player,
)
from tests.segments.lists.test_services import on

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
    measured = Flag.objects.get(environment=environment, key="new_tutorial")
    make_exposure(make_experiment(measured), player, "enabled", until)
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
    found -= {"player", "experiment_day"}  # the second only counts players
    assert found <= {data.table for data in registered()}


def test_export__contains_every_table(hero: Player) -> None:
    document = player_export(Player.objects.get(pk=hero.pk), actor=ACTOR)
    assert document["player"]["email"] == "hero@example.org"
    counts = {name: len(rows) for name, rows in document.items() if name != "player"}
    assert counts == {
        "player_session": 1, "purchase": 1, "event": 3, "flag_override": 1, "exposure": 1,
        "segment_member": 2, "segment_former_member": 0, "player_alias": 1, "player_note": 1,
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


# --- Everything that identifies a player, everywhere ----------------------------------------------

EXTERNAL, LINKED, UNLINKED = "Hero.4711+x", "guest_of_4711", "Tablet 4711"
EMAILS = ["Hero%1@Example.com", "old_hero@example.com", "second@example.net"]
DEVICE, OLD_DEVICE = 'device"4711\\', "former-device-4711"
FREE = "Heribert von Heldenstein"
NEEDLES = [EXTERNAL, LINKED, UNLINKED, *EMAILS, DEVICE, OLD_DEVICE, FREE]


def mentions(environment: Environment, player: Player, public_api: Api) -> None:
    """Write what identifies the player wherever games and staff can write."""
    path, spellings = f"{PLAYERS}/{player.pk}", spelled(player)
    patch = PlayerPatch(email=EMAILS[1], device_id=OLD_DEVICE)
    player_update(player, patch, actor=ACTOR, reason=f"{FREE} wrote from {EMAILS[0]}")
    patch = PlayerPatch(
        email=EMAILS[0], device_id=DEVICE,
        attributes={"name": FREE, "contact": {"mails": [EMAILS[2]]}},
    )  # fmt: skip
    player_update(player, patch, actor=ACTOR)
    player_alias_link(player, LINKED, actor=ACTOR, reason=f"is {EXTERNAL}")
    player_alias_link(player, UNLINKED, actor=ACTOR)
    player_alias_unlink(player, UNLINKED, actor=ACTOR)
    note_add(player, f"{FREE}\n{EXTERNAL}", actor=ACTOR)
    public_api.post(f"{path}/session", {"session_id": f"s {EXTERNAL}"})
    purchase = {"amount": 4.99, "transaction_id": f"t {EMAILS[0]}", "product_id": EXTERNAL}
    public_api.post(f"{path}/purchase", purchase)
    body = {"player_id": str(player.pk), "event_name": "chat", "session_id": EXTERNAL}
    properties = {
        "text": FREE, "mail": EMAILS[0], EMAILS[0]: 1, "by": spellings, f"friend {EXTERNAL}": "x",
    }  # fmt: skip
    assert public_api.post(EVENTS, {**body, "properties": properties}).status == 201
    public_api.post(EVENTS, {**body, "event_name": f"mail to {EMAILS[0]}"})
    for sent in (*spellings, *NEEDLES):
        public_api.post(EVENTS, {**body, "player_id": sent, "event_name": "ilara.x"})
        public_api.post(EVENTS, {"playerId": sent, "event_name": "chat"})
        public_api.post(EVENTS, {**body, "player_id": "x", "properties": {"from": [{"is": sent}]}})
        public_api.post(EVENTS, {**body, "player_id": "x", sent: sent})
        batch = {"events": [{**body, "player_id": "x", "event_id": sent}]}
        public_api.post(f"{EVENTS}/batch", batch)
    fold()

    flag = Flag.objects.get(environment=environment, key="new-feature")
    for reason in NEEDLES[:8]:
        override_set(flag, player, "enabled", actor=ACTOR, reason=f"for “{reason}”")
        override_remove(flag, player, actor=ACTOR, reason=f"{reason}: no more")
    segment = segment_of(environment)
    ids_add(segment, [EXTERNAL, LINKED, *spellings], excluded=True, actor=ACTOR, reason=EMAILS[1])
    ids_add(segment, [*EMAILS[:2], "other"], excluded=False, actor=ACTOR, reason=EXTERNAL)
    ids_remove(segment, [EMAILS[1]], excluded=False, actor=ACTOR)
    rule = {
        "operator": "AND",
        "conditions": [
            {"field": "email", "operator": "in", "value": [*EMAILS, "other@example.com"]},
            {"field": "external_id", "operator": "!=", "value": EXTERNAL},
            {"field": "device_id", "operator": "==", "value": DEVICE},
        ],
    }
    texts = {"name": f"Without {EXTERNAL}", "description": f"Asked for by {EMAILS[1]}"}
    made = segment_create(
        environment=environment, key="without", rule=rule, actor=ACTOR, reason=EXTERNAL, **texts
    )
    segment_update(
        made, name=made.name, description=f"Not for {LINKED}", rule=rule, actor=ACTOR,
        reason=EMAILS[2],
    )  # fmt: skip
    rules = (Rule("r", conditions=rule, variant="enabled"),)
    for_one = flag_create(
        environment=environment, key="for-one", document=boolean_document(rules=rules),
        actor=ACTOR, reason=EXTERNAL, description=f"Only {EXTERNAL}", owner=EMAILS[0],
        tags=[EMAILS[0], "shop"],
        links=[{"label": f"Ask {EXTERNAL}", "url": f"https://desk.example/?of={EXTERNAL}"}],
    )  # fmt: skip
    metric = make_metric(
        environment, "mails", name=f"Mails of {EXTERNAL}", description=EMAILS[0], owner=EMAILS[1],
        conditions=rule,
    )  # fmt: skip
    make_experiment(
        for_one, "for-one", metric, name=f"For {LINKED}", hypothesis=f"{FREE} of {EXTERNAL} pays",
        population=rule, owner=EMAILS[2], decision_reason=f"Asked by {EMAILS[0]}",
    )  # fmt: skip
    other = make_player(environment, "someone-else")
    override_set(flag, other, "enabled", actor=ACTOR, reason=f"As {EXTERNAL} asked")
    name = EventName.objects.get(environment=environment, name="chat")
    event_name_describe(name, {"description": f"As {EMAILS[0]} said"}, actor=ACTOR)
    for encoding in ("utf-8", "utf-16"):
        change = list_import(
            segment, excluded=False, actor=ACTOR, file_name=f"{EMAILS[0]}.csv", reason=LINKED
        )
        file = f"external_id,note\nfirst,1\n{EXTERNAL},x\n{LINKED.upper()},\nlast,\n"
        upload_keep(change, [file.encode(encoding)[:30], file.encode(encoding)[30:]])


def spelled(player: Player) -> list[str]:
    return [str(player.pk), str(player.pk).upper(), player.pk.hex]


def remains(player: Player) -> set[tuple[str, str]]:
    """The columns with one of the needles, in any case, as text, JSON or bytes."""
    texts = {*NEEDLES, *spelled(player)}
    texts |= {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    found = {text.lower() for text in texts}
    for encoding in ("utf-8", "utf-16-le"):
        found |= {text.encode(encoding).hex() for text in texts}
    columns = set()
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name, column_name FROM information_schema.columns
               WHERE table_schema = 'public'"""
        )
        for table, column in cursor.fetchall():
            cursor.execute(
                f"""SELECT 1 FROM "{table}" t, unnest(%s::text[]) needle
                    WHERE strpos(lower(t."{column}"::text), needle) > 0 LIMIT 1""",
                [sorted(found)],
            )
            if cursor.fetchone():
                columns.add((table, column))
    return columns


def test_erasure__leaves_nothing_in_any_column(environment: Environment, public_api: Api) -> None:
    player = make_player(environment, EXTERNAL, email=EMAILS[0], device_id=DEVICE)
    other = make_player(environment, f"{EXTERNAL}-2", device_id=DEVICE)
    player_update(other, PlayerPatch(device_id=OLD_DEVICE), actor=ACTOR)
    mentions(environment, player, public_api)
    assert len(remains(player)) > 30
    Player.objects.filter(pk=other.pk).update(external_id="other", device_id=None)
    theirs = AuditEntry.objects.get(object_id=str(other.pk))
    version = Environment.objects.get(pk=environment.pk).config_version

    player_delete(player, actor=ACTOR, reason=f"{EMAILS[1]} asked, id {player.pk.hex}")

    assert theirs.after == {"device_id": OLD_DEVICE}, "the undo of another player stays possible"
    AuditEntry.objects.filter(object_id=str(other.pk)).delete()
    assert remains(player) == set()
    kept = Segment.objects.get(key="without")
    assert kept.rule["conditions"][0]["value"][-1] == "other@example.com"
    assert kept.spec, "the rule can still be read"
    assert Flag.objects.get(key="for-one").problem == ""
    assert Environment.objects.get(pk=environment.pk).config_version > version
    assert on(segment_of(environment)) == ["other"]
    sizes = Segment.objects.values_list("included", "excluded").get(key="beta-testers")
    assert sizes == (1, 0)
    for change in SegmentListChange.objects.filter(state="running").order_by("pk"):
        list_run(change, upload_read(change))
    assert on(segment_of(environment)) == ["first", "last", "other"]


def test_erasure__of_a_player_named_like_a_key_changes_no_flag_and_no_segment(
    environment: Environment,
) -> None:
    """Players choose their names: none may break what others are served."""
    words = ["enabled", "new_tutorial", "beta-testers", "gold", "level_complete", "checkout_v2"]
    rule = {
        "operator": "OR",
        "conditions": [
            {"field": "tier", "operator": "in", "value": words},
            {"field": "username", "operator": "==", "value": "gold"},
        ],
    }
    segment_create(
        environment=environment, key="gold", name="gold", rule=rule, actor=ACTOR, reason="gold"
    )
    make_constant_flag(environment, "checkout_v2", "string", "checkout_v2")
    documents = list(Flag.objects.order_by("key").values_list("key", "document", "name"))
    entries = AuditEntry.objects.order_by("pk")
    audited = list(entries.values_list("object_name", "reason"))
    for word in words:
        player = make_player(environment, word, attributes={"username": word})
        player_delete(player, actor=ACTOR, reason="asked")
    assert list(Flag.objects.order_by("key").values_list("key", "document", "name")) == documents
    kept = Segment.objects.get(key="gold")
    assert (kept.name, kept.rule["conditions"][0]["value"]) == ("gold", words)
    assert kept.rule["conditions"][1]["value"] == "erased player"
    assert list(entries.values_list("object_name", "reason"))[: len(audited)] == audited


def test_erasure__keeps_others_whom_the_attributes_name(environment: Environment) -> None:
    friend = make_player(environment, "friend_12345", email="friend@example.com")
    attributes = {
        "players": [friend.external_id],
        "friends": [{"name": "Federica Friend", "email": friend.email}],
        "clan": {"ids": [friend.external_id]},
    }
    rule = {
        "operator": "AND",
        "conditions": [{"field": "external_id", "operator": "in", "value": ["friend_12345"]}],
    }
    segment = segment_create(
        environment=environment, key="friends", name="Federica Friend", rule=rule, actor=ACTOR
    )
    ids_add(segment, ["friend_12345"], excluded=False, actor=ACTOR)
    player_delete(make_player(environment, "hero", attributes=attributes), actor=ACTOR, reason="")
    kept = Segment.objects.get(key="friends")
    assert (kept.name, kept.rule) == ("Federica Friend", rule)
    assert on(kept) == ["friend_12345"]


def test_erasure__leaves_texts_that_fit_their_columns(environment: Environment) -> None:
    player, segment = make_player(environment, "user42"), segment_of(environment)
    segment_update(
        segment, name="x", description="user42 " * 71, rule=segment.rule, actor=ACTOR,
        reason="user42 " * 71,
    )  # fmt: skip
    player_delete(player, actor=ACTOR, reason="user42 " * 71)
    assert segment_of(environment).description == "erased " * 71


def test_erasure__keeps_texts_that_only_contain_the_name(environment: Environment) -> None:
    player = make_player(environment, "cat")
    longer = make_player(environment, "hero")
    make_constant_flag(environment, "cats", "string", "cat")
    segment = segment_of(environment)
    description = "The cat and hero-2 of superheroes"
    segment_update(
        segment, name=segment.name, rule=segment.rule, description=description, actor=ACTOR
    )
    for each in (player, longer):
        player_delete(each, actor=ACTOR, reason="asked")
    segment.refresh_from_db()
    assert segment.description == description
