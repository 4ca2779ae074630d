"""Requirements on requests that JSON Schema cannot express; loaded by schemathesis.

Only requests meant to be accepted are changed, so that a refused one is a finding.
"""

import os
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from uuid import uuid4

import requests
import schemathesis
from schemathesis import Case, HookContext

from ilara_admin.api.json_schema import INTEGER_RANGE

# Existing objects: calls about others mostly end with 404.
KNOWN = {
    "player_id": os.environ["REGISTERED_PLAYER"],
    "external_id": "player_123",
    "key": "new_tutorial",
    "segment_id": "beta-testers",
}
use_known = cycle((True, True, True, False))


@schemathesis.hook
def before_call(context: HookContext, case: "Case[Any]", kwargs: dict[str, Any]) -> None:
    if not is_meant_well(case):
        return
    body: dict[str, Any] = {}
    if isinstance(case.body, dict):
        case.body = body = in_64_bits(case.body)
    if next(use_known):
        for name in KNOWN.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = KNOWN[name]
        if "player_id" in body:
            body["player_id"] = KNOWN["player_id"]
    match operation(case):
        case "event_track":
            happened_in_time(body, body.get("sent_at"))
        case "event_batch":
            for event in body["events"]:
                happened_in_time(event, body.get("sent_at"))
            # A batch with only rejected events is a bad request.
            body["events"][0]["player_id"] = KNOWN["player_id"]
        case "alias_unlink":
            case.path_parameters["external_id"] = linked_to(case.path_parameters["player_id"])
        case "ofrep_evaluate":
            # Without a targetingKey, only flags that are the same for all players are evaluated.
            known_context = case.body.get("context") or {}
            known_context["targetingKey"] = known_context.get("targetingKey") or "player_123"
            case.body["context"] = known_context
        case "purchase_record":
            # The amount is in the query string or the body, with at most two decimal places.
            if "amount" in (case.query or {}):
                body.pop("amount", None)
            elif body.get("amount") is None:
                case.query = {**(case.query or {}), "amount": "4.99"}
            elif isinstance(body["amount"], float):
                body["amount"] = max(round(body["amount"], 2), 0.01)


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


def in_64_bits(value: Any) -> Any:
    """The value with floats in place of integers that are too large."""
    if isinstance(value, dict):
        return {name: in_64_bits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [in_64_bits(item) for item in value]
    return 1e300 if isinstance(value, int) and value not in INTEGER_RANGE else value


def operation(case: "Case[Any]") -> str:
    return str(case.operation.definition.raw["operationId"])


def is_meant_well(case: "Case[Any]") -> bool:
    return case.meta is None or case.meta.generation.mode.is_positive


def happened_in_time(event: dict[str, Any], sent_at: str | None) -> None:
    """Set the event's timestamp to one hour before it was sent: others may be refused."""
    if event.get("timestamp") is not None:
        sent = datetime.fromisoformat(sent_at) if sent_at else datetime.now(UTC)
        event["timestamp"] = (sent - timedelta(hours=1)).isoformat()
