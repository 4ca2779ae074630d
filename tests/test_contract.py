"""The published API reference as data: contract/*.json, replayed with either kind of key.

A case is a list of steps: a request, the reply it must get, and what of the reply later steps need
(`save`, used as `${name}`). In a reply, `{"$type": …}` stands for any uuid, time, number or string,
and `{"$public": …, "$secret": …}` for what a caller with that kind of key gets. Everything else
must be there exactly: no field more, none less.
"""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.api_client import Api

CASES = [
    pytest.param(steps, id=f"{path.stem}: {name}")
    for path in sorted((Path(__file__).parent / "contract").glob("*.json"))
    for name, steps in json.loads(path.read_text()).items()
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def of_type(kind: str, value: object) -> bool:
    match kind:
        case "uuid":
            return isinstance(value, str) and str(UUID(value)) == value
        case "time":
            return isinstance(value, str) and TIME.fullmatch(value) is not None
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str) and value != ""
    raise ValueError(kind)


def matches(expected: Any, actual: Any, key: str) -> bool:
    if isinstance(expected, dict):
        if "$type" in expected:
            return of_type(expected["$type"], actual)
        if "$public" in expected:
            return matches(expected[key], actual, key)
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(matches(value, actual[name], key) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(expected) == len(actual)
            and all(matches(*pair, key) for pair in zip(expected, actual, strict=True))
        )
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    return bool(expected == actual)


def filled(template: Any, saved: dict[str, str]) -> Any:
    text = json.dumps(template)
    for name, value in saved.items():
        text = text.replace(f"${{{name}}}", value)
    return json.loads(text)


def replay(steps: list[dict[str, Any]], api: Api, key: str) -> None:
    saved: dict[str, str] = {}
    for number, step in enumerate(steps, start=1):
        request, expected = filled([step["request"], step["reply"]], saved)
        expected = expected.get(key, expected)
        reply = api.request(
            request["method"],
            request["path"],
            request.get("body"),
            headers=request.get("headers"),
        )
        assert reply.status == expected["status"], (number, reply.json)
        assert matches(expected["body"], reply.json, key), (number, reply.json, expected["body"])
        for name, path in step.get("save", {}).items():
            value = reply.json
            for part in path.split("."):
                value = value[part]
            saved[name] = value


@pytest.mark.parametrize("steps", CASES)
def test_public_key__replies_as_published(steps: list[dict[str, Any]], public_api: Api) -> None:
    replay(steps, public_api, "$public")


@pytest.mark.parametrize("steps", CASES)
def test_secret_key__replies_as_published(steps: list[dict[str, Any]], secret_api: Api) -> None:
    replay(steps, secret_api, "$secret")


def test_player__has_exactly_the_eleven_published_fields(public_api: Api) -> None:
    assert list(public_api.register()) == [
        "id", "external_id", "device_id", "email", "lifecycle_stage", "session_count",
        "total_revenue", "is_payer", "first_seen_at", "last_seen_at", "attributes",
    ]  # fmt: skip


def test_evaluation__has_exactly_the_five_published_fields(public_api: Api) -> None:
    player = public_api.register()
    reply = public_api.post("/v1/flags/flags/new_tutorial/evaluate", {"player_id": player["id"]})
    assert list(reply.data) == ["flag_key", "value", "variant_key", "reason", "segment_id"]


def test_times__are_rfc_3339_in_utc(public_api: Api) -> None:
    moment = public_api.register()["first_seen_at"]
    assert TIME.fullmatch(moment)
    assert datetime.fromisoformat(moment).utcoffset() is not None


def test_stream__needs_a_secret_key(public_api: Api) -> None:
    reply = public_api.get("/v1/events/events/stream")
    assert (reply.status, reply.error["code"]) == (403, "UNAUTHORIZED")
