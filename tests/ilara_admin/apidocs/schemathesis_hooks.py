"""Requirements on requests that JSON Schema cannot express; loaded by schemathesis.

Only requests meant to be accepted are changed, so that a refused one is a finding.
"""

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import cycle
from typing import Any
from uuid import uuid4

import requests
import schemathesis
from schemathesis import Case, HookContext

from ilara_admin.core.currencies import in_places
from ilara_admin.core.names import name_problem
from players.money import BELOW

# Existing objects: calls about others mostly end with 404.
KNOWN = {
    "player_id": os.environ["REGISTERED_PLAYER"],
    "external_id": "player_123",
    "key": "new_tutorial",
    "segment_id": "beta-testers",
}
use_known = cycle((True, True, True, False))


@schemathesis.hook
def filter_case(context: HookContext, case: "Case[Any]") -> bool:
    """Unknown headers are no fault: clients, proxies and tracers add them. An empty one counts as
    missing, whatever its type."""
    return not any(
        "unknown-property" in name.lower() or not value
        for name, value in (case.headers or {}).items()
    )


@schemathesis.hook
def before_call(context: HookContext, case: "Case[Any]", kwargs: dict[str, Any]) -> None:
    if not is_meant_well(case):
        return
    body: dict[str, Any] = {}
    if isinstance(case.body, dict):
        case.body = body = finite(case.body)
        visible(body, "external_id")
    if next(use_known):
        for name in KNOWN.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = KNOWN[name]
        if "player_id" in body:
            body["player_id"] = KNOWN["player_id"]
    match operation(case):
        case "event_track":
            happened_in_time(body, body.get("sent_at"))
            visible(body, "event_name")
        case "event_batch":
            for event in body["events"]:
                happened_in_time(event, body.get("sent_at"))
                visible(event, "event_name")
            # A batch with only rejected events is a bad request.
            body["events"][0]["player_id"] = KNOWN["player_id"]
        case "alias_unlink":
            case.path_parameters["external_id"] = linked_to(case.path_parameters["player_id"])
        case "ofrep_evaluate":
            # Without a targetingKey, only flags that are the same for all players are evaluated.
            known_context = body.get("context") or {}
            known_context["targetingKey"] = known_context.get("targetingKey") or "player_123"
            body["context"] = known_context
        case "purchase_record":
            # The amount is in the query string or the body, with the places of its currency.
            currency = str(body.get("currency") or "USD").upper()
            query = case.query or {}
            if query.get("amount"):
                body.pop("amount", None)
                case.query = {**query, "amount": payable(query["amount"], currency)}
            elif body.get("amount") in (None, ""):
                case.query = {**query, "amount": payable("5", currency)}
            else:
                body["amount"] = payable(body["amount"], currency)


def linked_to(player_id: str) -> str:
    """A new alias of this player, to unlink."""
    alias = f"account-{uuid4()}"
    requests.post(
        f"{os.environ['ADDRESS']}/v1/players/players/{player_id}/aliases",
        json={"external_id": alias},
        headers={"X-API-Key": os.environ["SECRET"]},
        timeout=30,
    )
    return alias


def finite(value: Any) -> Any:
    """The value with a large integer in place of those that no double holds."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return 10**300 if isinstance(value, int) and abs(value) > sys.float_info.max else value


def visible(body: dict[str, Any], field: str) -> None:
    """Give a name something to see, which a pattern cannot require."""
    if isinstance(name := body.get(field), str) and name_problem(name):
        body[field] = f"x{name}x"[:128] if not name_problem(f"x{name}x"[:128]) else "x"


def payable(amount: Any, currency: str) -> str:
    """The amount, within the bounds and places that a pattern cannot require."""
    with suppress(InvalidOperation):
        if 1 <= (value := Decimal(str(amount))) < BELOW - 1:
            return str(in_places(value, currency))
    return "1"


def operation(case: "Case[Any]") -> str:
    return str(case.operation.definition.raw["operationId"])


def is_meant_well(case: "Case[Any]") -> bool:
    return case.meta is None or case.meta.generation.mode.is_positive


def happened_in_time(event: dict[str, Any], sent_at: str | None) -> None:
    """Set the event's timestamp to one hour before it was sent: others may be refused."""
    if event.get("timestamp") is not None:
        sent = datetime.fromisoformat(sent_at) if sent_at else datetime.now(UTC)
        event["timestamp"] = (sent - timedelta(hours=1)).isoformat()
