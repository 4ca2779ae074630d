"""API calls as curl commands, on the host through which the dashboard was opened."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.urls import get_script_prefix
from django.utils import timezone

from ilara_admin.api.endpoint import JSON
from ilara_admin.models import ApiKey, Environment, KeyKind

KEY_VARIABLE = "ILARA_KEY"
LONG_BODY = 60  # characters; longer bodies are indented over several lines
EXAMPLE_PLAYER = "player_123"
EXAMPLE_REGISTRATION = {"external_id": EXAMPLE_PLAYER, "attributes": {"level": 45}}


def key_shown(environment: Environment, kind: KeyKind) -> tuple[ApiKey | None, str]:
    """The oldest usable key of this kind, or None, and its visible prefix or a placeholder."""
    keys = environment.api_keys.usable_at(timezone.now())
    key = keys.filter(kind=kind).order_by("id").first()
    return key, f"{key.prefix}…" if key else f"{kind[0]}k_{environment.slug}_…"


def api_root(request: HttpRequest) -> str:
    """The URL above /v1 and /ofrep, without a trailing slash."""
    return request.build_absolute_uri(get_script_prefix()).rstrip("/")


def api_url(request: HttpRequest, path: str) -> str:
    return f"{api_root(request)}/v1/{path}"


def curl_post(request: HttpRequest, path: str, key: str, body: Mapping[str, Any]) -> str:
    """A POST with `key`, which is not quoted and may be a shell variable."""
    return curl("POST", api_url(request, path), {"X-API-Key": key}, body)


def curl(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
    *,
    flow: bool = False,
) -> str:
    """A command for a POSIX shell; headers may contain variables. `flow` turns off buffering, for
    streams."""
    command = ["curl", *(["-N"] if flow else []), *(["-X", method] if method != "GET" else [])]
    lines = [f'{" ".join(command)} "{url}"']
    lines += [f'-H "{name}: {value}"' for name, value in headers.items()]
    if body is not None:
        lines.append(f'-H "Content-Type: {JSON}"')
        lines.append(f"-d {shlex.quote(pretty(body))}")
    return " \\\n  ".join(lines)


def pretty(value: Any) -> str:
    """JSON on one line if it is short, else indented."""
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= LONG_BODY else json.dumps(value, ensure_ascii=False, indent=2)
