"""GET players: pages, ordered by id."""

import pytest

from ilara_admin.models import Environment
from tests.api_client import PLAYERS, Api
from tests.factories import make_player


def test_pages__contain_every_player_once(secret_api: Api, environment: Environment) -> None:
    ids = sorted(str(make_player(environment, f"p{number}").id) for number in range(7))
    seen: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        data = secret_api.get(f"{PLAYERS}?limit=3&cursor={cursor}").data
        seen += [player["id"] for player in data["players"]]
        cursor, pages = data["next_cursor"], pages + 1
    assert seen == ids
    assert pages == 3


def test_full_last_page__has_no_next_cursor(secret_api: Api, environment: Environment) -> None:
    for number in range(3):
        make_player(environment, f"p{number}")
    assert secret_api.get(f"{PLAYERS}?limit=3").data["next_cursor"] is None


def test_page__has_50_players_by_default(secret_api: Api, environment: Environment) -> None:
    for number in range(51):
        make_player(environment, f"p{number}")
    data = secret_api.get(PLAYERS).data
    assert len(data["players"]) == 50
    assert data["next_cursor"] == data["players"][-1]["id"]
    assert len(secret_api.get(f"{PLAYERS}?limit=200").data["players"]) == 51


def test_empty_parameters__count_as_absent(secret_api: Api) -> None:
    secret_api.register()
    assert len(secret_api.get(f"{PLAYERS}?limit=&cursor=").data["players"]) == 1


@pytest.mark.parametrize(
    "limit", ["0", "201", "-1", "ten", "1.5", "٣", "9" * 30, "0000000019", "1" + "0" * 5_000]
)
def test_limit_out_of_range__is_refused(limit: str, secret_api: Api) -> None:
    error = secret_api.get(f"{PLAYERS}?limit={limit}").error
    assert error["message"] == "limit must be a number from 1 to 200"
    assert error["details"][0]["field"] == "limit"


def test_invalid_cursor__is_refused(secret_api: Api) -> None:
    reply = secret_api.get(f"{PLAYERS}?cursor=next")
    assert (reply.status, reply.error["message"]) == (400, "Invalid cursor format")
