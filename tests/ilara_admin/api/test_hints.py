"""Hints about API keys, paths and names."""

import pytest

from ilara_admin.api.hints import closest_name, closest_path, did_you_mean, key_problem
from ilara_admin.core import tokens

RANDOM = "4R5SWTipk4EfSMPrKyuHySijWeRCo9"
TOKEN = f"pk_live_{RANDOM}{tokens.checksum(RANDOM)}"
PATHS = [
    "/v1/players/players",
    "/v1/players/players/external/{external_id}",
    "/v1/players/players/{player_id}",
    "/v1/players/players/{player_id}/session",
    "/v1/players/players/{player_id}/purchase",
    "/v1/players/players/{player_id}/churn-risk",
    "/v1/events/events",
    "/v1/events/events/batch",
    "/v1/events/events/stream",
    "/v1/flags/flags/evaluate",
    "/v1/flags/flags/{key}/evaluate",
    "/v1/segments/segments/{segment_id}/evaluate",
    "/v1/segments/player/{player_id}",
    "/v1/openapi.json",
    "/ofrep/v1/evaluate/flags",
    "/ofrep/v1/evaluate/flags/{key}",
]


def mistyped() -> str:
    middle = len(TOKEN) // 2
    return TOKEN[:middle] + ("a" if TOKEN[middle] != "a" else "b") + TOKEN[middle + 1 :]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (TOKEN[:-4], "incomplete: 32 characters after pk_live_ instead of 36"),
        (TOKEN + "x", "too long: 37 characters"),
        (mistyped(), "checksum does not match"),
        (f'"{TOKEN}"', "in quotes"),
        (f"“{TOKEN}”", "in quotes"),
        (f"Bearer {TOKEN}", "the word Bearer"),
        (f"{TOKEN} {TOKEN}", "contains a space"),
        ("pk_live_xxxxxxxxxxxx", "placeholder"),
        ("pk_live_...", "placeholder"),
        ("YOUR_API_KEY", "placeholder"),
        ("<your key>".replace(" ", "-"), "placeholder"),
        ("${ILARA_KEY}", "placeholder"),
        ("undefined", "placeholder"),
        ("my" * 4_000, "too long"),
        ("null", "placeholder"),
        ("sdk-6f1b0a", "begin with pk_ or sk_"),
        ("Xk" + TOKEN[2:], "begin with pk_ or sk_"),
        (TOKEN[:-1] + "é", "a character that no key has"),
        (TOKEN, "this server has no such key"),
    ],
)
def test_key_problem__names_the_mistake_and_never_the_key(token: str, reason: str) -> None:
    problem = key_problem(token, {}, ())
    assert reason in problem
    assert token not in problem


@pytest.mark.parametrize(
    ("headers", "query", "reason"),
    [
        ({}, [], "the header X-API-Key is missing"),
        ({"X-API-Key": ""}, [], "the header X-API-Key is empty"),
        ({"Authorization": "Basic abc"}, [], "must be of the scheme Bearer"),
        ({"Authorization": "Bearer"}, [], "no key follows the word Bearer"),
        ({"api-key": TOKEN}, [], "in the header api-key"),
        ({}, ["api_key"], "a key in the address"),
        ({}, ["X-API-Key"], "a key in the address"),
    ],
)
def test_missing_key__says_where_it_belongs(
    headers: dict[str, str], query: list[str], reason: str
) -> None:
    assert reason in key_problem("", headers, query)


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("/v1/players", "/v1/players/players"),
        ("/v1/players/players/", "/v1/players/players"),
        ("/v1//players/players", "/v1/players/players"),
        ("/players/players", "/v1/players/players"),
        ("/players", "/v1/players/players"),
        ("/api/v1/players/players", "/v1/players/players"),
        ("/v1/player", "/v1/players/players"),
        ("/v1/players/external/a", "/v1/players/players/external/a"),
        ("/v1/players/42/session", "/v1/players/players/42/session"),
        ("/v1/players/players/42/sessions", "/v1/players/players/42/session"),
        ("/v1/players/players/42/churn_risk", "/v1/players/players/42/churn-risk"),
        ("/v1/events", "/v1/events/events"),
        ("/v1/events/batch", "/v1/events/events/batch"),
        ("/v1/flags/x/evaluate", "/v1/flags/flags/x/evaluate"),
        ("/flags/x/evaluate", "/v1/flags/flags/x/evaluate"),
        ("/v1/flags/evaluate", "/v1/flags/flags/evaluate"),
        ("/v1/segments/vip/evaluate", "/v1/segments/segments/vip/evaluate"),
        ("/v1/segments/segments/player/42", "/v1/segments/player/42"),
        ("/v1/openapi", "/v1/openapi.json"),
        ("/ofrep/evaluate/flags/x", "/ofrep/v1/evaluate/flags/x"),
        ("/ofrep/v1/evaluate/flags/", "/ofrep/v1/evaluate/flags"),
        (
            "/v1/players/players/" + "x" * 200 + "/sessions",
            "/v1/players/players/{player_id}/session",
        ),
        ("/v1/something/entirely/different", None),
        ("/v1/players" + "/a" * 2_000, None),
        ("/v1", None),
        ("/", None),
    ],
)
def test_closest_path__is_the_one_that_was_meant(path: str, suggestion: str | None) -> None:
    found = closest_path(path, PATHS)
    assert (found and found[0]) == suggestion


@pytest.mark.parametrize(
    ("wanted", "given", "found"),
    [
        ("external_id", ["externalId", "level"], "externalId"),
        ("external_id", ["user_id"], "user_id"),
        ("player_id", ["playerID"], "playerID"),
        ("player_id", ["userId", "event_name"], "userId"),
        ("event_name", ["event"], "event"),
        ("event_name", ["eventNmae"], "eventNmae"),
        ("events", ["batch"], "batch"),
        ("external_id", ["level", "name"], None),
        ("external_id", [], None),
    ],
)
def test_closest_name__knows_other_spellings(
    wanted: str, given: list[str], found: str | None
) -> None:
    assert closest_name(wanted, given) == found


def test_did_you_mean__is_empty_without_a_close_name() -> None:
    assert did_you_mean("new_tutorial", ["new-tutorial", "shop"]) == " Did you mean “new-tutorial”?"
    assert did_you_mean("checkout", ["new-tutorial"]) == ""
