"""Calls of the API as lines to paste, on the host at which the visitor reached the dashboard."""

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.urls import get_script_prefix

EXAMPLE_PLAYER = "player_123"
EXAMPLE_REGISTRATION = {"external_id": EXAMPLE_PLAYER, "attributes": {"level": 45}}


def api_url(request: HttpRequest, path: str) -> str:
    return request.build_absolute_uri(f"{get_script_prefix()}v1/{path}")


def curl(request: HttpRequest, path: str, key: str, body: Mapping[str, Any]) -> str:
    """A POST. `key` is taken as it stands, so that it may be a shell variable."""
    lines = (
        f'curl -X POST "{api_url(request, path)}"',
        f'-H "X-API-Key: {key}"',
        '-H "Content-Type: application/json"',
        f"-d '{json.dumps(body)}'",
    )
    return " \\\n  ".join(lines)
