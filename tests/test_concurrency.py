"""Concurrent requests and changes: mostly many callers and one player."""

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import cycle, islice

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from flags.engine.document import Prerequisite, Rule, boolean_document
from flags.models import Exposure, Flag
from flags.results import exposures
from flags.services import flag_create, flag_update
from ilara_admin.api import environment_cache
from ilara_admin.core import db
from ilara_admin.models import Environment
from players.aliases import player_alias_link
from players.erasure import player_delete
from players.models import Player, PlayerAlias, PlayerSession, Purchase, player_id_for
from players.services import purchase_refund
from segments.lists.services import ids_add
from segments.models import Segment, SegmentMember
from segments.services import segment_create, segment_delete
from tests.api_client import EVENTS, FLAGS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_experiment, make_key, make_player
from tests.homes import HANG_SECONDS
from tests.threads import at_once, until_somebody_waits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 5}]}


def test_50_threads_registering_one_external_id__create_one_player(
    public_api: Api, environment: Environment
) -> None:
    def register(number: int) -> int:
        return public_api.post(PLAYERS, {"external_id": "hero", "device_id": f"d{number}"}).status

    statuses = at_once(register, range(50))
    assert sorted(statuses) == [200] * 49 + [201]
    player = Player.objects.of(environment).get()
    assert (player.external_id, player.active_days) == ("hero", 1)


def test_alias_linked_during_a_registration_by_it__one_of_both_succeeds(
    public_api: Api, player: Player
) -> None:
    """Either the link is refused because the player exists, or the registration finds the alias."""

    def act(number: int) -> object:
        name = f"guest-{number // 2}"
        if number % 2:
            return public_api.register(name)["external_id"]
        try:
            return player_alias_link(player, name, actor=ACTOR)
        except ValidationError:
            return None

    for round in range(0, 40, 2):
        linked, registered = at_once(act, [round, round + 1])
        alias, name = PlayerAlias.objects.filter(player=player), f"guest-{round // 2}"
        assert alias.filter(external_id=name).exists() == (linked is not None)
        assert Player.objects.filter(external_id=name).exists() == (linked is None)
        assert registered == (name if linked is None else player.external_id)


def test_link_in_an_open_transaction__does_not_block_other_ids(
    public_api: Api, environment: Environment, player: Player
) -> None:
    make_player(environment, "known")
    elsewhere = Api(make_key(make_environment()).token)
    ids = ((public_api, "new"), (public_api, "known"), (elsewhere, "new"), (elsewhere, "guest-7"))

    def register(_: None) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        statuses = [api.post(PLAYERS, {"external_id": name}).status for api, name in ids]
        waits = public_api.post(PLAYERS, {"external_id": "guest-7"}).status
        return [*statuses, waits]

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        player_alias_link(player, "guest-7", actor=ACTOR)
        done = pool.submit(at_once, register, [None])
        assert done.result(timeout=HANG_SECONDS) == [[201, 200, 201, 201, 503]]


def test_registration_that_waits_for_a_link__finds_the_player(
    public_api: Api, player: Player
) -> None:
    def register(_: None) -> object:
        return public_api.register("guest-7")["external_id"]

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            player_alias_link(player, "guest-7", actor=ACTOR)
            registering = pool.submit(at_once, register, [None])
            until_somebody_waits()
        assert registering.result(timeout=HANG_SECONDS) == [player.external_id]
    assert Player.objects.get() == player


def test_list_change_that_waits_for_a_link__takes_the_player(
    environment: Environment, player: Player
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")

    def add(_: None) -> None:
        ids_add(segment, ["guest-7"], excluded=False, actor=ACTOR)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            player_alias_link(player, "guest-7", actor=ACTOR)
            adding = pool.submit(at_once, add, [None])
            until_somebody_waits()
        adding.result(timeout=HANG_SECONDS)
    assert SegmentMember.objects.get().player_id == player.pk


def test_link_that_waits_for_an_erasure__is_refused(player: Player) -> None:
    def link(_: None) -> object:
        return player_alias_link(player, "guest-7", actor=ACTOR)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            player_delete(player, actor=ACTOR)
            linking = pool.submit(at_once, link, [None])
            until_somebody_waits()
        with pytest.raises(ValidationError, match="was erased"):
            linking.result(timeout=HANG_SECONDS)


def test_exposure_that_waits_for_an_erasure__is_not_written(
    public_api: Api, environment: Environment
) -> None:
    make_experiment(Flag.objects.get(environment=environment, key="new_tutorial"))
    player = make_player(environment, attributes={"is_vip": True})
    public_api.post(f"{FLAGS}/new_tutorial/evaluate", {"player_id": str(player.pk)})

    def write(_: None) -> None:
        exposures.flush()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            player_delete(player, actor=ACTOR)
            writing = pool.submit(at_once, write, [None])
            until_somebody_waits()
        writing.result(timeout=HANG_SECONDS)
    assert not Exposure.objects.exists()


def test_list_written_while_its_ids_are_linked__leaves_no_stale_row(
    environment: Environment, player: Player
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    other = segment_create(environment=environment, key="o", name="", rule=RULE, actor=ACTOR)

    def act(number: int) -> None:
        match number % 3:
            case 0:
                ids_add(segment, [f"g{number // 3}", "x"], excluded=False, actor=ACTOR)
            case 1:
                ids_add(other, [f"g{number // 3}"], excluded=True, actor=ACTOR)
            case _:
                player_alias_link(player, f"g{number // 3}", actor=ACTOR)

    for round in range(0, 36, 3):
        at_once(act, range(round, round + 3))
    rows = SegmentMember.objects.filter(player_id=player.pk)
    assert set(rows.values_list("external_id", "excluded")) == {
        ("player_123", False),
        ("player_123", True),
    }
    assert SegmentMember.objects.count() == 3  # "x" is not an alias
    segment.refresh_from_db()
    other.refresh_from_db()
    assert (segment.included, other.excluded) == (2, 1)


def test_player_erased_during_a_registration_by_the_alias__another_player_is_created(
    public_api: Api, environment: Environment
) -> None:
    for round in range(10):
        player = make_player(environment, f"p-{round}")
        player_alias_link(player, f"guest-{round}", actor=ACTOR)

        def act(number: int, player: Player = player, name: str = f"guest-{round}") -> object:
            if number:
                return public_api.register(name)["external_id"]
            return player_delete(player, actor=ACTOR)

        at_once(act, range(4))
        assert not Player.objects.filter(pk=player.pk).exists()
        assert not PlayerAlias.objects.exists()
        # Registrations before the erasure got the player that was erased afterwards.
        found = Player.objects.filter(external_id__startswith="guest-")
        assert all(
            each.pk == player_id_for(environment.namespace, each.external_id) for each in found
        )


def test_refund_while_the_player_is_erased__waits_and_is_refused(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase"
    public_api.post(path, {"amount": 5, "transaction_id": "t-1"})
    player = Player.objects.get()

    def refund(_: None) -> object:
        return purchase_refund(player, "t-1", actor=ACTOR)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Player.objects.select_for_update().get()
            refunding = pool.submit(at_once, refund, [None])
            time.sleep(0.3)  # the refund waits for the player
            player_delete(player, actor=ACTOR)
        with pytest.raises(ValidationError, match="was erased"):
            refunding.result()


def test_merges_of_different_attributes__lose_none(public_api: Api) -> None:
    player_id = public_api.register()["id"]

    def merge(number: int) -> int:
        body = {"attributes": {f"a{number}": number}}
        if number % 2:
            return public_api.patch(f"{PLAYERS}/{player_id}", body).status
        return public_api.post(PLAYERS, {"external_id": "player_123", **body}).status

    assert set(at_once(merge, range(40))) == {200}
    attributes = public_api.get(f"{PLAYERS}/{player_id}").data["attributes"]
    assert attributes == {f"a{number}": number for number in range(40)}


def test_20_threads_retrying_one_purchase__count_once(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase"

    def buy(_: int) -> int:
        return public_api.post(path, {"amount": 4.99, "transaction_id": "t-1"}).status

    assert set(at_once(buy, range(20))) == {200}
    player = Player.objects.get()
    assert (player.purchase_count, player.total_revenue) == (1, Decimal("4.99"))
    assert Purchase.objects.count() == 1


def test_20_threads_retrying_one_session__count_once(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/session"
    statuses = at_once(lambda _: public_api.post(path, {"session_id": "s-1"}).status, range(20))
    assert set(statuses) == {200}
    assert Player.objects.get().session_count == PlayerSession.objects.count() == 1


def test_20_calls_without_an_id__count_each(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}"

    def act(number: int) -> int:
        return public_api.post(f"{path}/{'purchase?amount=1' if number % 2 else 'session'}").status

    assert set(at_once(act, range(40))) == {200}
    player = Player.objects.get()
    assert (player.session_count, player.purchase_count, player.total_revenue) == (
        20,
        20,
        Decimal(20),
    )


def test_20_different_purchases__are_all_summed(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/purchase"

    def buy(number: int) -> int:
        return public_api.post(path, {"amount": 0.1, "transaction_id": f"t-{number}"}).status

    assert set(at_once(buy, range(20))) == {200}
    player = Player.objects.get()
    assert (player.purchase_count, player.total_revenue) == (20, Decimal("2.00"))
    assert Purchase.objects.count() == 20


def test_sessions__count_once_each_by_their_id(public_api: Api) -> None:
    path = f"{PLAYERS}/{public_api.register()['id']}/session"

    def play(number: int) -> int:
        return public_api.post(path, {"session_id": f"s-{number}"}).status

    assert set(at_once(play, [number // 2 for number in range(20)])) == {200}
    assert Player.objects.get().session_count == PlayerSession.objects.count() == 10


def test_calls_that_wait_for_the_player__use_the_current_row(public_api: Api) -> None:
    player_id = public_api.register()["id"]
    path = f"{PLAYERS}/{player_id}"

    def act(number: int) -> int:
        name = f"n-{number}"
        match number % 4:
            case 0:
                return public_api.post(f"{path}/purchase?amount=0.1", idempotency_key=name).status
            case 1:
                return public_api.post(f"{path}/session", {"session_id": name}).status
            case 2:
                return public_api.patch(path, {"attributes": {name: 1}}).status
        body = {"external_id": "player_123", "attributes": {name: 1}}
        return public_api.post(PLAYERS, body).status

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Player.objects.select_for_update().get()
        statuses = pool.submit(at_once, act, range(20))
        time.sleep(0.5)  # the calls wait for the row
        Player.objects.update(session_count=100)
    assert set(statuses.result()) == {200}
    player = Player.objects.get()
    assert (player.session_count, player.purchase_count, len(player.attributes)) == (105, 5, 10)
    assert player.total_revenue == Decimal("0.50")


def test_20_threads_sending_one_event__store_it_once(public_api: Api) -> None:
    body = {"player_id": public_api.register()["id"], "event_name": "start", "event_id": "e-1"}

    statuses = at_once(lambda _: public_api.post(EVENTS, body).data["status"], range(20))
    assert sorted(statuses) == ["accepted"] + ["duplicate"] * 19
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM event WHERE player_id = %s", [body["player_id"]])
        assert cursor.fetchone() == (1,)


def test_event_of_a_locked_player__does_not_wait(public_api: Api) -> None:
    """Another transaction locks the player's row; storing an event needs no lock."""
    body = {"player_id": public_api.register()["id"], "event_name": "start"}
    Player.objects.update(last_seen_at="2020-01-01T00:00:00Z")

    def track(_: None) -> int:
        return public_api.post(EVENTS, body).status

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Player.objects.select_for_update().get()
        assert pool.submit(at_once, track, [None]).result(timeout=HANG_SECONDS) == [201]


def test_overlapping_batches_in_opposite_order__do_not_deadlock(public_api: Api) -> None:
    players = [public_api.register(f"p{number}")["id"] for number in range(20)]
    # A batch marks players who were last seen long ago as seen, which locks their rows.
    Player.objects.update(last_seen_at="2020-01-01T00:00:00Z", last_active_on="2020-01-01")
    events = [
        {"player_id": player_id, "event_name": "start", "event_id": f"e-{number}"}
        for number, player_id in enumerate(islice(cycle(players), 400))
    ]

    def send(batch: list[dict[str, str]]) -> int:
        reply = public_api.post(f"{EVENTS}/batch", {"events": batch})
        assert reply.status == 200, reply.json
        assert reply.data["accepted"] + reply.data["duplicates"] == len(batch)
        return int(reply.data["accepted"])

    accepted = at_once(send, [events, events[::-1]] * 4)
    assert sum(accepted) == len(events)


def test_many_threads_with_a_stale_snapshot__share_one_load(
    public_api: Api, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    player_id = public_api.register()["id"]
    loads: list[int] = []
    fetch_one = db.fetch_one

    def counted(sql: str, params: list[int], **options: bool) -> db.Row | None:
        if environment_cache.KEYS_SQL in sql:
            loads.append(params[0])
        return fetch_one(sql, params, **options)

    monkeypatch.setattr(db, "fetch_one", counted)
    Environment.objects.filter(pk=environment.pk).update(config_version=100)

    statuses = at_once(lambda _: public_api.get(f"{PLAYERS}/{player_id}").status, range(20))
    assert set(statuses) == {200}
    assert loads == [environment.pk]


def test_segment__is_not_deleted_while_a_flag_that_uses_it_is_saved(
    environment: Environment,
) -> None:
    segment = segment_create(environment=environment, key="new", name="", rule=RULE, actor=ACTOR)
    document = boolean_document(rules=(Rule(id="r", segment="new", variant="enabled"),))

    def delete(_: None) -> None:
        segment_delete(segment, actor=ACTOR)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            flag_create(environment=environment, key="f", document=document, actor=ACTOR)
            deletion = pool.submit(at_once, delete, [None])
            time.sleep(0.3)  # the deletion waits for the flag
        with pytest.raises(ValidationError, match="is used by"):
            deletion.result()


def test_two_flags_saved_at_once__create_no_cycle(environment: Environment) -> None:
    flags = [
        flag_create(environment=environment, key=key, document=boolean_document(), actor=ACTOR)
        for key in ("a", "b")
    ]

    def need(number: int) -> str:
        document = boolean_document()
        needed = (Prerequisite("ab"[1 - number], ("enabled",)),)
        try:
            flag_update(
                flags[number],
                document=msgspec.structs.replace(document, prerequisites=needed),
                base_revision=1,
                actor=ACTOR,
            )
        except ValidationError as error:
            return str(error)
        return "saved"

    first, second = sorted(at_once(need, range(2)), key=len)
    assert first == "saved"
    assert "cycle" in second
