"""Corrections by staff."""

import pytest
from django.core.exceptions import ValidationError

from ilara_admin.models import AuditEntry, Environment
from players.models import Player
from players.schemas import PlayerPatch
from players.services import player_undo, player_update
from tests.factories import ACTOR, make_player


@pytest.fixture
def player(environment: Environment) -> Player:
    return make_player(
        environment, email="pia@example.com", device_id="d-1", attributes={"level": 3, "vip": True}
    )


def stored(player: Player) -> tuple[str | None, str | None, object]:
    player.refresh_from_db()
    return player.email, player.device_id, player.attributes


def test_absent_fields_stay_null_clears_and_attributes_merge(player: Player) -> None:
    player_update(
        player, PlayerPatch(email=None, attributes={"level": 4, "vip": None}), actor=ACTOR
    )
    assert stored(player) == (None, "d-1", {"level": 4})


def test_entry__holds_what_differs_and_why(player: Player) -> None:
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
    ("attributes", "words"),
    [
        ({"text": "x" * 65536}, "The player's attributes would exceed 64 KiB."),
        ({f"a{number}": 1 for number in range(201)}, "A player has 200 attributes at most."),
    ],
)
def test_too_many_attributes__are_refused_in_words(
    player: Player, attributes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        player_update(player, PlayerPatch(attributes=attributes), actor=ACTOR)
    assert refused.value.message_dict == {"attributes": [words]}
    assert stored(player) == ("pia@example.com", "d-1", {"level": 3, "vip": True})


def test_undo__puts_back_what_was_replaced_and_nothing_else(player: Player) -> None:
    patch = PlayerPatch(email="x@example.com", attributes={"vip": None, "level": 9, "new": 1})
    entry = player_update(player, patch, actor=ACTOR)
    player_update(player, PlayerPatch(attributes={"coins": 5}), actor=ACTOR)
    assert entry
    player_undo(player, entry, actor=ACTOR)
    assert stored(player) == ("pia@example.com", "d-1", {"level": 3, "vip": True, "coins": 5})
