"""Updates of a player on a day on which it was seen change no index."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from ilara_admin.core.projects import environment_update
from ilara_admin.models import Environment
from players.models import Player
from players.values import values_fill
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_player


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


@pytest.mark.parametrize(
    ("changes", "is_hot"),
    [
        ({"attributes": {"level": 2, "user_name": "Ana"}}, True),
        ({"email": "ana@example.com", "device_id": "d", "attributes": {"level": 2}}, True),
        ({"email": "other@example.com"}, False),
        ({"device_id": "other"}, False),
    ],
)
def test_patch__is_hot_unless_email_or_device_id_changes(
    changes: dict[str, Any], is_hot: bool, environment: Environment, public_api: Api
) -> None:
    environment_update(environment, {"searchable_attributes": ["user_name"]}, actor=ACTOR)
    values_fill(environment.pk)
    player = make_player(environment, email="ana@example.com", device_id="d")
    before = updates()
    assert public_api.patch(f"{PLAYERS}/{player.pk}", changes).status == 200
    after = updates()
    assert (after[0] - before[0], after[1] - before[1]) == (1, int(is_hot))
