"""What a request must also fulfil, where JSON Schema has no words for it.

schemathesis loads this file. It changes only requests that are meant to be accepted, so that one
that is refused all the same is a finding.
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

# What there is: most calls about anything else end at 404, whatever else they hold.
KNOWN = {
    "player_id": os.environ["REGISTERED_PLAYER"],
    "external_id": "player_123",
    "key": "new_tutorial",
    "segment_id": "beta-testers",
}
by_turns = cycle((True, True, True, False))


@schemathesis.hook
def before_call(context: HookContext, case: "Case[Any]", kwargs: dict[str, Any]) -> None:
    if not is_meant_well(case):
        return
    body: dict[str, Any] = {}
    if isinstance(case.body, dict):
        case.body = body = in_64_bits(case.body)
    if next(by_turns):
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
            # A batch of which every event is refused is a bad request.
            body["events"][0]["player_id"] = KNOWN["player_id"]
        case "alias_unlink":
            case.path_parameters["external_id"] = linked_to(case.path_parameters["player_id"])
        case "purchase_record":
            # The amount stands in the address or in the body, and a number has two places at most.
            if "amount" in (case.query or {}):
                body.pop("amount", None)
            elif body.get("amount") is None:
                case.query = {**(case.query or {}), "amount": "4.99"}
            elif isinstance(body["amount"], float):
                body["amount"] = max(round(body["amount"], 2), 0.01)


def linked_to(player_id: str) -> str:
    """An id that means this player, for there is nothing else to unlink."""
    alias = f"account-{uuid4()}"
    requests.post(
        f"{os.environ['ADDRESS']}/v1/players/players/{player_id}/aliases",
        json={"external_id": alias},
        headers={"X-API-Key": os.environ["SECRET"]},
        timeout=30,
    )
    return alias


def in_64_bits(value: Any) -> Any:
    """The same with numbers in place of integers that are too large."""
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
    """An event happened before it was sent, give or take a day, by a clock that was once set."""
    if event.get("timestamp") is not None:
        sent = datetime.fromisoformat(sent_at) if sent_at else datetime.now(UTC)
        event["timestamp"] = (sent - timedelta(hours=1)).isoformat()
