"""The mistakes that newcomers make, and the message that each gets. Each message names the fix."""

import json
import re
from typing import Any

import pytest

from ilara_admin.core import tokens
from ilara_admin.models import Environment, KeyKind
from tests.api_client import Api
from tests.factories import make_key, make_player
from tests.inputs import inputs

MISTAKES = inputs("mistakes")
KNOWN = {
    "mistake", "method", "key", "headers", "path", "body", "raw", "content_type", "status",
    "message", "says", "ignored",
}  # fmt: skip


@pytest.mark.parametrize("entry", MISTAKES, ids=[entry["mistake"] for entry in MISTAKES])
def test_mistake__gets_a_message_with_the_fix(
    entry: dict[str, Any], environment: Environment
) -> None:
    assert set(entry) <= KNOWN
    public = make_key(environment).token
    values = {
        "public": public,
        "secret": make_key(environment, KeyKind.SECRET).token,
        "truncated": public[:-6],
        "mistyped": public[:-1] + ("a" if public[-1] != "a" else "b"),
        "unknown": tokens.new_token("pk", "live"),
        "player_id": str(make_player(environment).id),
        "elsewhere": str(
            make_player(environment.project.environments.get(slug="test"), "elsewhere").id
        ),
    }

    def filled(value: Any) -> Any:
        return json.loads(re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], json.dumps(value)))

    key = filled(entry.get("key", "${public}"))
    reply = Api(key).request(
        entry.get("method", "POST"),
        filled(entry["path"]),
        entry["raw"].encode() if "raw" in entry else filled(entry.get("body")),
        content_type=entry.get("content_type", "application/json"),
        headers=filled(entry.get("headers", {})),
    )
    assert reply.status == entry["status"], reply.json
    error = reply.error
    if "message" in entry:
        assert error["message"] == entry["message"]
    texts = [error["message"], *(detail["message"] for detail in error.get("details", ()))]
    assert any(entry["says"] in text for text in texts), texts
    assert reply.headers.get("X-Ilara-Ignored") == entry.get("ignored")
    assert public not in str(texts)
