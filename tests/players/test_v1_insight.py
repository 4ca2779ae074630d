"""Lifecycle and churn risk of a player, and the columns they are computed from."""

from datetime import UTC, datetime, timedelta

import pytest

from ilara_admin.models import Environment
from players.models import Player
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import make_player


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


@pytest.mark.parametrize(
    ("first", "last", "stage", "days", "following"),
    [
        (0, 0, "new", 0, "at_risk"),
        (6, 1, "new", 1, "active"),
        (60, 1, "active", 1, "at_risk"),
        (60, 8, "at_risk", 8, "churned"),
        (60, 31, "churned", 31, None),
    ],
)
def test_lifecycle__is_computed_from_the_times(
    first: int, last: int, stage: str, days: int, following: str | None,
    environment: Environment, public_api: Api,
) -> None:  # fmt: skip
    now = ago()
    player = make_player(
        environment,
        first_seen_at=now - timedelta(days=first),
        last_seen_at=now - timedelta(days=last),
    )
    data = public_api.get(f"{PLAYERS}/{player.id}/lifecycle").data
    assert (data["lifecycle_stage"], data["days_since_last_seen"]) == (stage, days)
    assert data["stage_since"] <= datetime.now(UTC).isoformat()
    if following is None:
        assert data["next"] is None
    else:
        assert data["next"]["stage"] == following
        assert data["next"]["at"] > datetime.now(UTC).isoformat()
    assert public_api.get(f"{PLAYERS}/{player.id}").data["lifecycle_stage"] == stage


def test_thresholds_of_the_environment__apply(environment: Environment, public_api: Api) -> None:
    Environment.objects.filter(pk=environment.pk).update(at_risk_days=2, churned_days=3)
    player = make_player(environment, first_seen_at=ago(days=60), last_seen_at=ago(days=2))
    data = public_api.get(f"{PLAYERS}/{player.id}/lifecycle").data
    assert (data["lifecycle_stage"], data["next"]["stage"]) == ("at_risk", "churned")


def test_churn_risk__rises_with_inactivity(environment: Environment, public_api: Api) -> None:
    def score(silence: int) -> tuple[float, str]:
        player = make_player(
            environment,
            f"silent-{silence}",
            first_seen_at=ago(days=60),
            last_seen_at=ago(days=silence),
            active_days=10,
        )
        data = public_api.get(f"{PLAYERS}/{player.id}/churn-risk").data
        total = sum(factor["contribution"] for factor in data["factors"])
        assert total == pytest.approx(data["risk_score"], abs=1e-9)
        assert 0.5 <= data["confidence"] <= 1
        return data["risk_score"], data["risk_level"]

    scores = [score(silence) for silence in (0, 14, 30)]
    assert scores == sorted(scores)
    assert [level for _, level in scores] == ["low", "medium", "high"]


def test_reads__do_not_change_last_seen_at(environment: Environment, public_api: Api) -> None:
    player = make_player(environment, last_seen_at=ago(days=8))
    for path in ("", "/lifecycle", "/churn-risk"):
        public_api.get(f"{PLAYERS}/{player.id}{path}")
    assert Player.objects.get().last_seen_at == player.last_seen_at


# --- Activity columns -----------------------------------------------------------------------------


def visit(call: str, player: Player, api: Api) -> Player:
    path = f"{PLAYERS}/{player.id}"
    match call:
        case "register":
            reply = api.post(PLAYERS, {"external_id": player.external_id})
        case "session":
            reply = api.post(f"{path}/session")
        case "purchase":
            reply = api.post(f"{path}/purchase?amount=1")
        case _:
            reply = api.post(EVENTS, {"player_id": str(player.id), "event_name": "start"})
    assert reply.status in (200, 201)
    return Player.objects.get(pk=player.pk)


CALLS = pytest.mark.parametrize("call", ["register", "session", "purchase", "event"])


@CALLS
def test_visit_of_a_churned_player__is_a_return(
    call: str, environment: Environment, public_api: Api
) -> None:
    player = make_player(
        environment, first_seen_at=ago(days=90), last_seen_at=ago(days=40), active_days=5
    )
    seen = visit(call, player, public_api)
    assert seen.active_days == seen.activity.count("1") == 6
    assert seen.activity == player.activity + "0" * 39 + "1"
    assert seen.last_active_on == seen.last_seen_at.astimezone(UTC).date()
    assert seen.returned_at == seen.active_since == seen.last_seen_at
    assert seen.gap_before_return == seen.last_seen_at - player.last_seen_at
    data = public_api.get(f"{PLAYERS}/{player.id}/lifecycle").data
    assert (data["lifecycle_stage"], data["stage_since"]) == ("reactivated", data["last_seen_at"])
    assert data["next"]["stage"] == "at_risk"


@CALLS
def test_visit_of_an_at_risk_player__sets_active_since_only(
    call: str, environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, first_seen_at=ago(days=90), last_seen_at=ago(days=8))
    seen = visit(call, player, public_api)
    assert seen.active_since == seen.last_seen_at
    assert (seen.returned_at, seen.gap_before_return) == (None, None)


@CALLS
def test_visit_of_an_active_player__keeps_active_since(
    call: str, environment: Environment, public_api: Api
) -> None:
    player = make_player(
        environment, first_seen_at=ago(days=90), last_seen_at=ago(days=3), active_days=5
    )
    seen = visit(call, player, public_api)
    assert (seen.active_days, seen.active_since) == (6, player.active_since)
    assert seen.last_seen_at > player.last_seen_at
    assert seen.first_seen_at == player.first_seen_at


@CALLS
def test_second_visit_of_a_day__adds_no_active_day(
    call: str, environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, last_seen_at=ago(days=2))
    visit(call, player, public_api)
    seen = visit(call, player, public_api)
    assert (seen.active_days, seen.activity) == (2, "101")


@CALLS
def test_last_seen_in_the_future__does_not_change(
    call: str, environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, last_seen_at=datetime.now(UTC) + timedelta(days=2))
    seen = visit(call, player, public_api)
    assert (seen.last_seen_at, seen.active_days) == (player.last_seen_at, 1)
    assert seen.last_active_on == player.last_active_on


def test_events_within_a_minute__do_not_update_the_player(
    environment: Environment, public_api: Api
) -> None:
    player = make_player(environment, last_seen_at=ago(seconds=20))
    assert visit("event", player, public_api).last_seen_at == player.last_seen_at
    player = make_player(environment, "other", last_seen_at=ago(seconds=90))
    assert visit("event", player, public_api).last_seen_at > player.last_seen_at
