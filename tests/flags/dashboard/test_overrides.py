"""A value of their own for one player: ahead of the rules, until it ends."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from flags import services
from flags.models import Flag, FlagOverride
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_environment, make_player

pytestmark = pytest.mark.django_db


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return Flag.objects.get(environment=environment, key="new_tutorial")


def context(api: Api, player: Player) -> tuple[bool, str]:
    data = api.post(f"{FLAGS}/new_tutorial/evaluate", {"player_id": str(player.pk)}).data
    every = api.post(f"{FLAGS}/evaluate", {"player_id": str(player.pk)}).data["flags"]
    assert every["new_tutorial"] == data
    assert data["segment_id"] is None or data["reason"] == "segment_match"
    return data["value"], data["reason"]


def test_override__counts_at_once_and_for_this_player_alone(
    flag: Flag, player: Player, public_api: Api, environment: Environment
) -> None:
    other = make_player(environment, "other")
    assert context(public_api, player) == (False, "default")
    services.override_set(flag, player, "enabled", actor=ACTOR, reason="Stuck at level 3")
    assert context(public_api, player) == (True, "override")
    assert context(public_api, other) == (False, "default")
    services.override_set(flag, player, "disabled", actor=ACTOR)
    assert context(public_api, player) == (False, "override")
    services.override_remove(flag, player, actor=ACTOR)
    assert context(public_api, player) == (False, "default")
    actions = AuditEntry.objects.filter(environment=environment, object_type="flag")
    assert [entry.action for entry in actions[:3]] == [
        AuditAction.FLAG_OVERRIDE_REMOVED,
        AuditAction.FLAG_OVERRIDDEN,
        AuditAction.FLAG_OVERRIDDEN,
    ]


def test_override__ends_by_the_clock_of_the_database(
    flag: Flag, player: Player, public_api: Api
) -> None:
    now = datetime.now(UTC)
    services.override_set(flag, player, "enabled", actor=ACTOR, expires_at=now + timedelta(hours=1))
    assert context(public_api, player) == (True, "override")
    FlagOverride.objects.update(expires_at=now - timedelta(seconds=1))
    assert context(public_api, player) == (False, "default")


def test_override__waits_while_the_flag_is_off(flag: Flag, player: Player, public_api: Api) -> None:
    services.override_set(flag, player, "enabled", actor=ACTOR)
    services.flag_set_enabled(flag, False, actor=ACTOR)
    assert context(public_api, player) == (False, "disabled")


def test_override__of_an_unknown_variant__is_refused(flag: Flag, player: Player) -> None:
    with pytest.raises(ValidationError, match="no variant"):
        services.override_set(flag, player, "purple", actor=ACTOR)


def test_support__sets_takes_back_and_undoes_on_the_players_page(
    flag: Flag, player: Player, public_api: Api, environment: Environment,
    staff_client: Callable[..., Client],
) -> None:  # fmt: skip
    client = staff_client(Role.SUPPORT)
    home = f"/{environment.project.slug}/{environment.slug}"
    url = f"{home}/flags/new_tutorial/players/{player.pk}/"
    assert client.get(url).status_code == 200
    client.post(url, {"variant": "enabled", "hours": "24", "reason": "Ticket 12"})
    assert context(public_api, player) == (True, "override")
    page = client.get(f"{home}/players/{player.pk}/").content.decode()
    assert "Set for this player by" in page
    assert "Expires" in page

    kept = FlagOverride.objects.get().expires_at
    assert kept
    client.post(url, {"variant": "*rules*", "hours": "0"})
    assert context(public_api, player) == (False, "default")
    until = kept.isoformat().replace("+", "%2B")
    client.post(f"{url}?to=enabled&until={until}")
    assert context(public_api, player) == (True, "override")
    assert FlagOverride.objects.get().expires_at == kept


def test_player_of_another_environment__cannot_be_reached(
    player: Player, staff_client: Callable[..., Client]
) -> None:
    elsewhere = make_environment()
    home = f"/{elsewhere.project.slug}/{elsewhere.slug}"
    url = f"{home}/flags/new_tutorial/players/{player.pk}/"
    assert (
        staff_client(Role.ADMIN).post(url, {"variant": "enabled", "hours": "0"}).status_code == 404
    )
