"""What a game server does with the client of openapi-python-client: `use_client.py ADDRESS KEY`.
Prints the replies as JSON. The client is the package `ilara_client`."""

import json
import sys
from typing import Any
from uuid import UUID

from ilara_client import AuthenticatedClient, models
from ilara_client.api.events import event_batch, event_track
from ilara_client.api.feature_flags import flag_evaluate, flag_evaluate_all
from ilara_client.api.open_feature import ofrep_evaluate, ofrep_evaluate_all
from ilara_client.api.players import (
    player_get,
    player_get_by_external_id,
    player_register,
    purchase_record,
    session_record,
)

address, key = sys.argv[1:]
client = AuthenticatedClient(
    base_url=address,
    token=key,
    auth_header_name="X-API-Key",
    prefix="",
    raise_on_unexpected_status=True,
)


def data(reply: Any) -> Any:
    """The data of a parsed reply, after a round trip through the generated model."""
    assert not isinstance(reply, models.Failure | models.OfrepFailure | None), reply
    plain = reply.to_dict()
    return plain.get("data", plain)


player = {"external_id": "player_123", "attributes": {"level": 45, "items": ["sword", None]}}
registered = data(player_register.sync(client=client, body=models.PlayerRegister.from_dict(player)))
player_id = registered["id"]
event = {"player_id": player_id, "event_name": "level_complete", "properties": {"level": 45}}
question = models.FlagEvaluate.from_dict({"player_id": player_id, "context": {"vip": True}})
targeting = models.OfrepEvaluate.from_dict({"context": {"targetingKey": "player_123"}})
purchase = {"amount": 4.99, "currency": "USD"}
id = UUID(player_id)
replies = {
    "registered": registered,
    "tracked": event_track.sync(client=client, body=models.EventTrack.from_dict(event)),
    "batch": event_batch.sync(
        client=client, body=models.EventBatch.from_dict({"events": [event, event]})
    ),
    "session": session_record.sync(id, client=client, body=models.SessionRecord()),
    "purchase": purchase_record.sync(
        id, client=client, body=models.PurchaseRecord.from_dict(purchase)
    ),
    "flag": flag_evaluate.sync("new_tutorial", client=client, body=question),
    "flags": flag_evaluate_all.sync(client=client, body=question),
    "openfeature": ofrep_evaluate.sync("new_tutorial", client=client, body=targeting),
    "all": ofrep_evaluate_all.sync(client=client, body=models.OfrepEvaluate()),
    "read": player_get.sync(id, client=client),
    "found": player_get_by_external_id.sync("player_123", client=client),
}
shown = {name: reply if isinstance(reply, dict) else data(reply) for name, reply in replies.items()}
json.dump(shown, sys.stdout)
