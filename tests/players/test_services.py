"""Writes to players by staff."""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from ilara_admin.api.bodies import digest_of
from ilara_admin.core.changes import Conflict, undo
from ilara_admin.models import AuditEntry, Environment
from players.aliases import aliases_of, player_alias_link, player_alias_unlink
from players.erasure import player_delete
from players.models import Player, Purchase
from players.notes import note_add
from players.schemas import PlayerPatch
from players.services import player_update, purchase_refund, purchase_refund_undo
from tests.api_client import PLAYERS, Api
from tests.factories import ACTOR, make_player


@pytest.fixture
def player(environment: Environment) -> Player:
    return make_player(
        environment, email="pia@example.com", device_id="d-1", attributes={"level": 3, "vip": True}
    )


def stored(player: Player) -> tuple[str | None, str | None, object]:
    player.refresh_from_db()
    return player.email, player.device_id, player.attributes


def test_update__keeps_absent_fields_clears_null_and_merges_attributes(player: Player) -> None:
    player_update(
        player, PlayerPatch(email=None, attributes={"level": 4, "vip": None}), actor=ACTOR
    )
    assert stored(player) == (None, "d-1", {"level": 4})


def test_audit_entry__has_the_changed_fields_and_the_reason(player: Player) -> None:
    patch = PlayerPatch(device_id="d-2", attributes={"level": 3, "coins": 10})
    player_update(player, patch, actor=ACTOR, reason="Ticket 7")
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.object_id, entry.object_name) == (
        "player.updated",
        str(player.pk),
        "player_123",
    )
    assert entry.before == {"device_id": "d-1", "attributes": {}}
    assert entry.after == {"device_id": "d-2", "attributes": {"coins": 10}}
    assert (entry.actor_name, entry.reason) == (ACTOR.name, "Ticket 7")
    assert entry.environment == player.environment


def test_same_values__write_nothing(player: Player) -> None:
    before = AuditEntry.objects.count()
    patch = PlayerPatch(email="pia@example.com", attributes={"level": 3})
    assert player_update(player, patch, actor=ACTOR) is None
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"text": "x" * 65536}, "The player's attributes would exceed 64 KiB."),
        ({f"a{number}": 1 for number in range(201)}, "A player can have at most 200 attributes."),
    ],
)
def test_too_many_attributes__are_refused_with_a_message(
    player: Player, attributes: dict[str, object], text: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        player_update(player, PlayerPatch(attributes=attributes), actor=ACTOR)
    assert refused.value.message_dict == {"attributes": [text]}
    assert stored(player) == ("pia@example.com", "d-1", {"level": 3, "vip": True})


def test_undo__restores_only_the_changed_fields(player: Player) -> None:
    patch = PlayerPatch(email="x@example.com", attributes={"vip": None, "level": 9, "new": 1})
    entry = player_update(player, patch, actor=ACTOR)
    player_update(player, PlayerPatch(attributes={"coins": 5}), actor=ACTOR)
    assert entry
    undo(entry, actor=ACTOR)
    assert stored(player) == ("pia@example.com", "d-1", {"level": 3, "vip": True, "coins": 5})


# --- Undo after later changes ---------------------------------------------------------------------


def test_undo_of_an_old_refund__keeps_a_later_one(player: Player, public_api: Api) -> None:
    path = f"{PLAYERS}/{player.pk}/purchase"
    digest = digest_of("t-1").hex()
    public_api.post(path, {"amount": 5, "transaction_id": "t-1"})
    first = purchase_refund(player, "t-1", actor=ACTOR)
    reversal = purchase_refund_undo(player, digest, actor=ACTOR)
    second = purchase_refund(player, digest, actor=ACTOR)
    with pytest.raises(Conflict):
        undo(first, actor=ACTOR)
    assert Purchase.objects.get().refunded_at is not None
    assert undo(second, actor=ACTOR) is not None
    assert Purchase.objects.get().refunded_at is None
    with pytest.raises(Conflict):
        undo(reversal, actor=ACTOR)
    player.refresh_from_db()
    assert (player.purchase_count, player.total_revenue) == (1, Decimal(5))


def test_undo__ignores_changes_of_other_objects(player: Player, public_api: Api) -> None:
    for name in ("t-1", "t-2"):
        public_api.post(f"{PLAYERS}/{player.pk}/purchase", {"amount": 5, "transaction_id": name})
    first = purchase_refund(player, "t-1", actor=ACTOR)
    purchase_refund(player, "t-2", actor=ACTOR)
    assert undo(first, actor=ACTOR) is not None
    assert Purchase.objects.exclude(refunded_at=None).get().transaction_id == "t-2"


def test_undo_of_an_old_link__keeps_a_later_one(player: Player) -> None:
    first = player_alias_link(player, "guest-7", actor=ACTOR)
    assert first is not None
    player_alias_unlink(player, "guest-7", actor=ACTOR)
    player_alias_link(player, "guest-7", actor=ACTOR)
    with pytest.raises(Conflict):
        undo(first, actor=ACTOR)
    assert aliases_of(player.pk) == ["guest-7"]


def test_undo_of_a_link_after_the_id_moved__changes_nothing(
    player: Player, environment: Environment
) -> None:
    link = player_alias_link(player, "guest-7", actor=ACTOR)
    unlink = player_alias_unlink(player, "guest-7", actor=ACTOR)
    assert link is not None
    assert unlink is not None
    other = make_player(environment, "other")
    player_alias_link(other, "guest-7", actor=ACTOR)
    with pytest.raises(Conflict):
        undo(link, actor=ACTOR)
    with pytest.raises(ValidationError, match="is linked to another player, other"):
        undo(unlink, actor=ACTOR)
    assert aliases_of(other.pk) == ["guest-7"]


def test_actions_on_an_erased_player__have_a_message(player: Player, public_api: Api) -> None:
    public_api.post(f"{PLAYERS}/{player.pk}/purchase", {"amount": 5, "transaction_id": "t-1"})
    player_delete(Player.objects.get(), actor=ACTOR)
    for act in (purchase_refund, purchase_refund_undo, note_add):
        with pytest.raises(ValidationError, match="was erased"):
            act(player, "t-1", actor=ACTOR)
