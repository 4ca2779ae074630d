"""Calls of the API as lines to paste, on the host at which the visitor reached the dashboard."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.urls import get_script_prefix
from django.utils import timezone

from ilara_admin import samples
from ilara_admin.models import ApiKey, Environment, KeyKind

EXAMPLE_PLAYER = "player_123"
EXAMPLE_REGISTRATION = {"external_id": EXAMPLE_PLAYER, "attributes": {"level": 45}}


def key_shown(environment: Environment, kind: KeyKind) -> tuple[ApiKey | None, str]:
    """The first key of this kind in use, and as much of one as can be shown."""
    keys = environment.api_keys.usable_at(timezone.now())
    key = keys.filter(kind=kind).order_by("id").first()
    return key, f"{key.prefix}…" if key else f"{kind[0]}k_{environment.slug}_…"


def api_root(request: HttpRequest) -> str:
    """Where /v1 and /ofrep lie, with no slash at the end."""
    return request.build_absolute_uri(get_script_prefix()).rstrip("/")


def api_url(request: HttpRequest, path: str) -> str:
    return f"{api_root(request)}/v1/{path}"


def curl(request: HttpRequest, path: str, key: str, body: Mapping[str, Any]) -> str:
    """A POST. `key` is taken as it stands, so that it may be a shell variable."""
    return samples.curl("POST", api_url(request, path), {"X-API-Key": key}, body)
