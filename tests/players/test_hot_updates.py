"""Updates of a player on a day on which it was seen change no index, and lists use indexes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ilara_admin.models import Environment
from players.lifecycle import Stage, Thresholds
from players.models import Player
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import make_player


def updates() -> tuple[int, int]:
    """Updates of players in this transaction, and the HOT ones among them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables
               WHERE relname = 'player'"""
        )
        found: tuple[int, int] = cursor.fetchone()
        return found


CALLS: dict[str, tuple[str, Any]] = {
    "event": (EVENTS, {"player_id": "{id}", "event_name": "start"}),
    "register": (PLAYERS, {"external_id": "player_123", "attributes": {"level": 2}}),
    "session": (f"{PLAYERS}/{{id}}/session", {}),
    "purchase": (f"{PLAYERS}/{{id}}/purchase?amount=1", {}),
}


@pytest.mark.parametrize("call", CALLS)
def test_update__is_hot_on_a_day_of_activity(
    call: str, environment: Environment, public_api: Api
) -> None:
    path, body = CALLS[call]
    for day, expected in ((0, (1, 1)), (1, (1, 0))):
        Player.objects.filter(environment=environment).delete()
        now = datetime.now(UTC)
        last = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=day)
        if now - last < timedelta(minutes=2):
            pytest.skip("an event in the first minute of the day touches no player seen before")
        player = make_player(environment, first_seen_at=last, last_seen_at=last)
        before = updates()
        filled = {
            name: value.format(id=player.pk) if isinstance(value, str) else value
            for name, value in body.items()
        }
        assert public_api.post(path.format(id=player.pk), filled).status in (200, 201)
        after = updates()
        assert (after[0] - before[0], after[1] - before[1]) == expected


def plan(found: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE player")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    text: str = found.for_list()[:50].explain()
    return text


def many_players(environment: Environment) -> None:
    now = datetime.now(UTC)
    for number in range(300):
        seen = now - timedelta(days=number % 90)
        make_player(environment, f"p{number}", last_seen_at=seen, last_active_on=seen.date())


def test_list__is_read_in_the_order_of_the_index(environment: Environment) -> None:
    many_players(environment)
    found = plan(Player.objects.of(environment).recent_first())
    assert "player_recent" in found
    assert "Sort" not in found


@pytest.mark.parametrize("stage", [Stage.CHURNED, Stage.AT_RISK])
def test_silent_players__are_found_by_the_day(stage: Stage, environment: Environment) -> None:
    many_players(environment)
    players = Player.objects.of(environment).recent_first()
    found = plan(players.in_stage(stage, Thresholds(), datetime.now(UTC)))
    assert "last_active_on" in found.partition("Index Cond:")[2].partition("\n")[0]
    assert "Sort" not in found


@pytest.mark.parametrize(
    ("stage", "index"),
    [(Stage.REACTIVATED, "player_returned"), (Stage.NEW, "player_first_seen")],
)
def test_rare_stages__have_an_index(stage: Stage, index: str, environment: Environment) -> None:
    """With many players in other stages; statistics tell the planner that this one is rare."""
    long_ago = datetime.now(UTC) - timedelta(days=90)
    for number in range(300):
        make_player(environment, f"p{number}", first_seen_at=long_ago)
    rare = {"first_seen_at": long_ago, "returned_at": datetime.now(UTC)}
    make_player(environment, "rare", **(rare if stage is Stage.REACTIVATED else {}))
    players = Player.objects.of(environment).recent_first()
    assert index in plan(players.in_stage(stage, Thresholds(), datetime.now(UTC)))
