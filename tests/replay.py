"""The published API reference as data (contract/*.json), and the replay of its cases.

A case is a list of steps: a request, the expected reply, and values of the reply that later steps
need (`save`, used as `${name}`). In a reply, `{"$type": …}` matches any uuid, time, number or
string, and `{"$public": …, "$secret": …}` has the value per kind of key. Everything else must match
exactly, without additional fields.
"""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.api_client import PLAYERS, Api

type Steps = list[dict[str, Any]]

CASES: dict[str, Steps] = {
    f"{path.stem}: {name}": steps
    for path in sorted((Path(__file__).parent / "contract").glob("*.json"))
    for name, steps in json.loads(path.read_text()).items()
}
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


def renamed(steps: Steps, external_id: str) -> Steps:
    """The same case with another player and another purchase, for a server with replayed cases."""
    text = json.dumps(steps).replace("player_123", external_id)
    renamed: Steps = json.loads(text.replace('"t-1"', f'"t-{external_id}"'))
    return renamed


def lists_players(steps: Steps) -> bool:
    requests = [step["request"] for step in steps]
    return any(
        request["method"] == "GET" and request["path"].partition("?")[0] == PLAYERS
        for request in requests
    )


def replay(steps: Steps, api: Api, key: str) -> None:
    """Send each request and compare; `key` is `$public` or `$secret`."""
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
