"""What a developer needs to connect a game: quick start, endpoints, errors, limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ilara_admin.errors import STATUS, Code
from ilara_admin.htmx import HtmxHttpRequest
from ilara_admin.models import KeyKind, Role, Tier
from ilara_admin.pages.curl import EXAMPLE_PLAYER, EXAMPLE_REGISTRATION, api_url, curl
from ilara_admin.scope import staff_view
from players.models import player_id_for

KEY_VARIABLE = "$ILARA_KEY"


class Call(NamedTuple):
    """`basic` calls stay open to public keys in an environment that restricts them."""

    method: str
    path: str
    text: str
    secret: bool = False
    basic: bool = False


GROUPS: tuple[tuple[str, tuple[Call, ...]], ...] = (
    (
        "Players",
        (
            Call("POST", "players/players", "Register a player, or update the one there is", False,
                 True),
            Call("GET", "players/players", "List players, by pages: limit and cursor", True),
            Call("GET", "players/players/{player_id}", "Read a player"),
            Call("GET", "players/players/external/{external_id}",
                 "Read a player by your own id"),
            Call("PATCH", "players/players/{player_id}",
                 "Change device_id, email or attributes; attributes merge, null removes one"),
            Call("POST", "players/players/{player_id}/session", "Count a session"),
            Call("POST", "players/players/{player_id}/purchase",
                 "Record a purchase: ?amount=4.99 or a body"),
            Call("GET", "players/players/{player_id}/lifecycle",
                 "The lifecycle stage, since when, and the next one"),
            Call("GET", "players/players/{player_id}/churn-risk",
                 "How likely the player is gone, and why"),
            Call("POST", "players/players/{player_id}/aliases",
                 "Let another external id mean this player", True),
            Call("DELETE", "players/players/{player_id}/aliases/{external_id}",
                 "Let it mean nobody again", True),
        ),
    ),
    (
        "Events",
        (
            Call("POST", "events/events", "Track an event", False, True),
            Call("POST", "events/events/batch",
                 "Track up to 1,000 events, each with its own verdict", False, True),
            Call("GET", "events/events/stream", "Events as they arrive (server-sent events)", True),
        ),
    ),
    (
        "Feature flags",
        (
            Call("POST", "flags/flags/{key}/evaluate", "One flag for a player", False, True),
            Call("POST", "flags/flags/evaluate", "All flags for a player", False, True),
        ),
    ),
    (
        "Segments",
        (
            Call("POST", "segments/segments/{segment_id}/evaluate",
                 "Whether a player is in a segment", False, True),
            Call("GET", "segments/player/{player_id}", "The segments a player is in", False, True),
        ),
    ),
)  # fmt: skip

ERRORS: tuple[tuple[Code, str], ...] = (
    (
        Code.VALIDATION_ERROR,
        "The request cannot be read or breaks a rule; details name the field. 405 for a method "
        "that the path does not have, 413 for a body above 1 MiB, 415 for a body that is not JSON.",
    ),
    (
        Code.UNAUTHORIZED,
        "The key is missing, unknown, expired or revoked. 403 when the key is good but may not "
        "make this call: a public key where a secret one is needed, a secret one from a browser.",
    ),
    (Code.NOT_FOUND, "No such path, player, flag or segment in the environment of the key."),
    (
        Code.RATE_LIMIT_EXCEEDED,
        "More calls or events than the project's tier allows. Try again after the seconds that "
        "the header Retry-After gives.",
    ),
    (
        Code.INTERNAL_ERROR,
        "A fault on the server. 503 with Retry-After while the database cannot be reached.",
    ),
)
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
        "base_url": api_url(request, ""),
        "groups": GROUPS,
        "errors": [(code, STATUS[code], text) for code, text in ERRORS],
        "error_example": ERROR_EXAMPLE,
        "limits": LIMITS,
        "concepts": CONCEPTS,
    }
    return render(request, "ilara_admin/developers.html", context)
