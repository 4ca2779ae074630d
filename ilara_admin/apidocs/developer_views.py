"""The Developers page: quick start, clients, conventions, errors and limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.http import HttpResponse
from django.shortcuts import render

from ilara_admin.api.body_errors import PLAYER_ID
from ilara_admin.api.curl import (
    EXAMPLE_PLAYER,
    EXAMPLE_REGISTRATION,
    api_url,
    curl_post,
    key_shown,
)
from ilara_admin.api.errors import STATUS, ApiError, Code, describe_code
from ilara_admin.api.rate_limits import EVENTS, POLICIES, REQUESTS
from ilara_admin.apidocs.clients import CLIENTS, usage
from ilara_admin.apidocs.reference import groups
from ilara_admin.models import KeyKind, Role, Tier
from ilara_admin.web.access import may, staff_view
from ilara_admin.web.htmx import HtmxHttpRequest
from players.models import player_id_for

KEY_VARIABLE = "$ILARA_KEY"


ERROR_EXAMPLE = msgspec.json.format(
    ApiError(Code.VALIDATION_ERROR, "Invalid player_id format", field="player_id", fix=PLAYER_ID)
    .response()
    .content
).decode()


def limits_text() -> list[tuple[Tier, str, str]]:
    """Tier, requests per minute, events per second."""
    return [(tier, _limit(tier, REQUESTS), _limit(tier, EVENTS)) for tier in Tier]


def _limit(tier: Tier, policy: str) -> str:
    return f"{POLICIES[tier][policy].limit:,}" if tier in POLICIES else "Unlimited"


CONVENTIONS: tuple[tuple[str, str], ...] = (
    (
        "Keys",
        "`pk_…` for game clients, `sk_…` for servers. Secret keys are refused from browsers; each "
        "call names the scope that they need. E-mail addresses are masked for public keys by "
        "default, and for secret keys without the scope `personal`, as are device ids, linked ids "
        "and what the settings call personal. The key determines the environment.",
    ),
    (
        "Idempotency",
        "Requests with an `event_id`, `session_id` or `transaction_id` can be repeated: each id "
        "counts once. The header `Idempotency-Key` replaces a missing id. If a repeat has other "
        "content, the first one counts, and the header `X-Ilara-Conflict` names the fields that "
        "differ; a batch lists them in `conflicts`.",
    ),
    (
        "Values",
        "Values count, not their spelling: 1e1 is 10, and 4.990 is 4.99. Integers beyond 64 bits "
        "become doubles. Amounts may have the decimal places of their currency (ISO 4217). In a "
        "batch, an invalid value such as NaN rejects only its event.",
    ),
    (
        "Empty text",
        "Empty text in an optional text field, header or query parameter counts as absent, as some "
        "engines write it for null. Only null clears a device id or an e-mail address.",
    ),
    (
        "Names",
        "External ids and event names need a visible character and no space or invisible "
        "character at the ends. External ids are case-sensitive; player ids are not.",
    ),
    (
        "Compression",
        "Bodies may be compressed with `Content-Encoding: gzip`. The limit of 1 MiB applies before "
        "and after.",
    ),
    (
        "Unknown fields",
        "Unknown fields are ignored and listed in the reply's header `X-Ilara-Ignored`.",
    ),
    (
        "Times",
        "Times in replies are in UTC and end in Z. Requests may state times as any runtime writes "
        "them in ISO 8601: `2026-05-31T12:00:00.1234567+02:00`, `2026-05-31 12:00:00 +0000 UTC`, "
        "`20260531T120000Z`. Without an offset they are in UTC. Digits beyond microseconds are "
        "ignored. Numbers are refused.",
    ),
    (
        "Times and versions in attributes",
        "Where a rule asks for a time, an attribute or event property may also be a number: below "
        "100,000,000,000 seconds since 1970, otherwise milliseconds. A version is a text with up "
        "to eight numbers of at most 9007199254740991, such as `1.4.1759276800`; it may begin with "
        "`v` and end with a pre-release and a build, `v1.4.0-rc.1+build7`.",
    ),
    (
        "Request id",
        "Every reply has an `X-Request-Id`: yours if you sent one. Include it in bug reports.",
    ),
)


@dataclass(frozen=True, slots=True)
class QuickStartStep:
    """A call of the quick start, with its reply if that is always the same."""

    title: str
    text: str
    path: str
    body: Mapping[str, Any]
    answer: str = ""


def quick_start(player_id: str) -> tuple[QuickStartStep, ...]:
    """Three calls to run in this order. The player's id is derived from its external id, so it is
    known before registration."""
    return (
        QuickStartStep(
            "Register a player",
            "Creates or updates the player with this external id.",
            "players/players",
            EXAMPLE_REGISTRATION,
        ),
        QuickStartStep(
            "Track an event",
            "It appears under Live events within seconds. The player_id is the id from the "
            "previous step.",
            "events/events",
            {
                "player_id": player_id,
                "event_name": "level_complete",
                "properties": {"level": 45, "stars": 3},
            },
        ),
        QuickStartStep(
            "Evaluate a flag",
            "The reply has the player's value and the reason.",
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
    key, prefix = key_shown(environment, KeyKind.PUBLIC)
    steps = quick_start(str(player_id_for(environment.namespace, EXAMPLE_PLAYER)))
    context = {
        "key": key,
        "can_create": may(request, Role.ADMIN),
        "export": f'export ILARA_KEY="{prefix}"',
        "steps": [(step, curl_post(request, step.path, KEY_VARIABLE, step.body)) for step in steps],
        "clients": [
            (client, usage(client, api_url(request, "").rstrip("/"), prefix)) for client in CLIENTS
        ],
        "base_url": api_url(request, ""),
        "tags": [(tag, about, len(hits)) for tag, about, hits in groups()],
        "errors": [(code, STATUS[code], describe_code(code)) for code in Code],
        "error_example": ERROR_EXAMPLE,
        "limits": limits_text(),
        "conventions": CONVENTIONS,
    }
    return render(request, "ilara_admin/developers.html", context)
