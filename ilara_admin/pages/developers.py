"""What a developer needs to connect a game: quick start, endpoints, errors, limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ilara_admin.errors import STATUS, Code, told
from ilara_admin.htmx import HtmxHttpRequest
from ilara_admin.models import KeyKind, Role, Tier
from ilara_admin.operations import operations
from ilara_admin.pages.clients import CLIENTS, usage
from ilara_admin.pages.curl import EXAMPLE_PLAYER, EXAMPLE_REGISTRATION, api_url, curl
from ilara_admin.scope import staff_view
from players.models import player_id_for

KEY_VARIABLE = "$ILARA_KEY"


class Call(NamedTuple):
    """`basic` calls stay open to public keys in an environment that restricts them."""

    method: str
    path: str
    text: str
    secret: bool
    basic: bool


def groups() -> dict[str, list[Call]]:
    """The calls below /v1 that need a key, by what they are about."""
    found: dict[str, list[Call]] = {}
    for each in operations():
        if each.keys and each.path.startswith("/v1/"):
            path = each.path.removeprefix("/v1/")
            call = Call(each.method, path, each.summary, each.endpoint.secret, not each.restricted)
            found.setdefault(each.tag, []).append(call)
    return found


ERROR_EXAMPLE = """{
  "success": false,
  "error": {
    "code": "VALIDATION_ERROR",
    "message": "Invalid player_id format",
    "details": [{"field": "player_id", "message": "Invalid player_id format"}]
  }
}"""

LIMITS: tuple[tuple[Tier, str, str], ...] = (
    (Tier.FREE, "100", "10"),
    (Tier.GROWTH, "1,000", "100"),
    (Tier.PRO, "10,000", "1,000"),
    (Tier.ENTERPRISE, "Unlimited", "Unlimited"),
)

CONCEPTS: tuple[tuple[str, str], ...] = (
    (
        "Environment",
        "A world of its own: keys, players, flags, segments and events of one are unknown in the "
        "other. A key belongs to one environment, so the key is all that tells them apart.",
    ),
    (
        "Player",
        "Named by your own id, the external_id. Registering twice updates; absent fields stay, "
        "null clears. All other calls take the id that registering returns.",
    ),
    (
        "Sending twice",
        "Safe where an id comes along: event_id, session_id and transaction_id count once. The "
        "header Idempotency-Key stands in for one that is missing.",
    ),
    (
        "Flag",
        "Evaluating gives the value, the variant and the reason: disabled, rule_match, "
        "segment_match, rollout, default and others. A change made here is in force on the very "
        "next call.",
    ),
    (
        "Unknown fields",
        "Are ignored and named in the reply's header X-Ilara-Ignored, so a typing error shows.",
    ),
    (
        "Times",
        "Come out in UTC and end in Z. A time that you send needs its offset.",
    ),
    (
        "Request id",
        "Every reply carries X-Request-Id, yours if you sent one. Give it when you report a fault.",
    ),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the quick start, and what it answers where that is the same for everybody."""

    title: str
    text: str
    path: str
    body: Mapping[str, Any]
    answer: str = ""


def quick_start(player_id: str) -> tuple[Step, ...]:
    """Three calls that work one after the other. A player's id follows from the external id, so it
    is known before the player is."""
    return (
        Step(
            "Register a player",
            "Creates the player, or updates the one with this external id.",
            "players/players",
            EXAMPLE_REGISTRATION,
        ),
        Step(
            "Track an event",
            "It shows under Live events within a second or two. The player_id is the id from the "
            "step before.",
            "events/events",
            {
                "player_id": player_id,
                "event_name": "level_complete",
                "properties": {"level": 45, "stars": 3},
            },
        ),
        Step(
            "Evaluate a flag",
            "The answer says which value this player gets, and why.",
            "flags/flags/new_tutorial/evaluate",
            {"player_id": player_id},
            answer="""{
  "success": true,
  "data": {
    "flag_key": "new_tutorial",
    "value": true,
    "variant_key": "enabled",
    "reason": "segment_match",
    "segment_id": "beta-testers"
  }
}""",
        ),
    )


@staff_view(Role.VIEWER)
def developers(request: HtmxHttpRequest) -> HttpResponse:
    environment = request.environment
    keys = environment.api_keys.usable_at(timezone.now())
    key = keys.filter(kind=KeyKind.PUBLIC).order_by("id").first()
    steps = quick_start(str(player_id_for(environment.namespace, EXAMPLE_PLAYER)))
    prefix = f"{key.prefix}…" if key else f"pk_{environment.slug}_…"
    context = {
        "key": key,
        "can_create": request.user.may(Role.ADMIN),
        "export": f'export ILARA_KEY="{prefix}"',
        "steps": [(step, curl(request, step.path, KEY_VARIABLE, step.body)) for step in steps],
        "clients": [
            (client, usage(client, api_url(request, "").rstrip("/"), prefix)) for client in CLIENTS
        ],
        "base_url": api_url(request, ""),
        "groups": groups().items(),
        "errors": [(code, STATUS[code], told(code)) for code in Code],
        "error_example": ERROR_EXAMPLE,
        "limits": LIMITS,
        "concepts": CONCEPTS,
    }
    return render(request, "ilara_admin/developers.html", context)
