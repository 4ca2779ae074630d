"""How each operation is called with the clients in static/clients/, in their languages.

The values are those of the operation's first example. The tests run every line of this file.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ilara_admin.api.json_schema import EXAMPLE_ID as ID


class Call(NamedTuple):
    """`code` is the call, `shows` what of its result is printed. Go also gives `err`, which is
    checked in between."""

    code: str
    shows: str = ""


class ClientCalls(NamedTuple):
    python: Call
    node: Call
    go: Call


def calls_of(operation_id: str, values: Mapping[str, Any]) -> ClientCalls | None:
    """`values` are the example's by name: of the path and of the body."""
    if method := METHODS.get(operation_id):
        return _calls(method, values, GO.get(operation_id))
    return CALLS.get(operation_id)


# --- Operations that follow the clients' naming rules ---------------------------------------------


class Method(NamedTuple):
    """`result = name(arguments, options)`. The options are all values that are not arguments;
    `shows` is the part of the result to print."""

    result: str
    name: str
    arguments: str
    shows: str = ""


METHODS = {
    "player_register": Method("player", "register_player", "external_id", "id"),
    "player_get": Method("player", "get_player", "player_id", "external_id"),
    "player_get_by_external_id": Method("player", "get_player_by_external_id", "external_id", "id"),
    "player_patch": Method("player", "update_player", "player_id", "attributes"),
    "session_record": Method("player", "record_session", "player_id", "session_count"),
    "purchase_record": Method("player", "record_purchase", "player_id amount", "total_revenue"),
    "player_lifecycle": Method("lifecycle", "get_lifecycle", "player_id", "lifecycle_stage"),
    "churn_risk": Method("risk", "get_churn_risk", "player_id", "risk_level"),
    "alias_link": Method("linked", "link_alias", "player_id external_id", "aliases"),
    "alias_unlink": Method("left", "unlink_alias", "player_id external_id", "aliases"),
    "segment_evaluate": Method("is_member", "evaluate_segment", "segment_id player_id"),
    "player_segments": Method("segments", "get_player_segments", "player_id"),
}
# Go has a type for the options of each of these.
GO = {
    "player_register": """\
device, email := "device_abc", "player@example.com"
player, err := client.RegisterPlayer(ctx, "player_123", ilara.PlayerFields{
	DeviceID:   &device,
	Email:      &email,
	Attributes: map[string]any{"level": 45, "country": "US", "is_vip": true},
})""",
    "player_patch": f"""\
email := "player@example.com"
player, err := client.UpdatePlayer(ctx, "{ID}", ilara.PlayerFields{{
	Email:      &email,
	Attributes: map[string]any{{"level": 46, "guild": nil}},
}})""",
    "session_record": f"""\
started, err := time.Parse(time.RFC3339, "2025-01-25T14:30:00Z")
if err != nil {{
	log.Fatal(err)
}}
player, err := client.RecordSession(ctx, "{ID}", ilara.Session{{
	ID:              "session_abc123",
	StartedAt:       started,
	DurationSeconds: 1800,
}})""",
    "purchase_record": f"""\
player, err := client.RecordPurchase(ctx, "{ID}", ilara.Purchase{{
	Amount:        "4.99",
	Currency:      "USD",
	TransactionID: "order_8812",
	ProductID:     "sword_01",
}})""",
}


def _calls(method: Method, values: Mapping[str, Any], go: str | None) -> ClientCalls:
    result, variable = method.result, _camel(method.result)
    arguments = [json.dumps(str(values[name])) for name in method.arguments.split()]
    options = {name: values[name] for name in values if name not in method.arguments.split()}
    python = node = given = ", ".join(arguments)
    if options:
        lines = [*arguments, *(f"{name}={_python(name, options[name])}" for name in options)]
        python = "".join(f"\n    {line}," for line in lines) + "\n"
        node += ", {" + "".join(f"\n  {name}: {_node(name, options[name])}," for name in options)
        node += "\n}"
    shows = (f'["{method.shows}"]', f".{method.shows}", f".{_pascal(method.shows)}")
    parts = shows if method.shows else ("", "", "")
    go = go or f"{variable}, err := client.{_pascal(method.name)}(ctx, {given})"
    return ClientCalls(
        Call(f"{result} = ilara.{method.name}({python})", result + parts[0]),
        Call(f"const {variable} = await ilara.{_camel(method.name)}({node});", variable + parts[1]),
        Call(go, variable + parts[2]),
    )


def _pascal(name: str) -> str:
    return "".join("ID" if word == "id" else word.capitalize() for word in name.split("_"))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _python(name: str, value: Any) -> str:
    if name.endswith("_at"):
        return f'datetime.fromisoformat("{value.replace("Z", "+00:00")}")'
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_python(key, value[key])}' for key in value) + "}"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _node(name: str, value: Any) -> str:
    if name.endswith("_at"):
        return f'new Date("{value}")'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_node(key, value[key])}" for key in value) + " }"
    return json.dumps(value)


# --- Operations whose calls are their own ---------------------------------------------------------

CALLS = {
    "player_list": ClientCalls(
        Call(
            """\
page = ilara.list_players(limit=50)
for player in ilara.iterate_players():  # or all of them, page by page
    print(player["external_id"])""",
            'page["next_cursor"]',
        ),
        Call(
            """\
const page = await ilara.listPlayers({ limit: 50 });
for await (const player of ilara.iteratePlayers()) { // or all of them
  console.log(player.external_id);
}""",
            "page.next_cursor",
        ),
        Call('page, err := client.ListPlayers(ctx, 50, "")', "len(page.Players), page.NextCursor"),
    ),
    "event_track": ClientCalls(
        Call(
            f"""\
event_id = ilara.track(  # waits in memory, is sent within a second
    "{ID}",
    "level_complete",
    {{"level": 5, "score": 12500, "time_seconds": 180, "stars_earned": 3}},
    session_id="session_abc123",
)
ilara.close()  # sends what still waits""",
            "event_id",
        ),
        Call(
            f"""\
const eventId = ilara.track( // waits in memory, is sent within a second
  "{ID}",
  "level_complete",
  {{ level: 5, score: 12500, time_seconds: 180, stars_earned: 3 }},
  {{ session_id: "session_abc123" }},
);
await ilara.close(); // sends what still waits""",
            "eventId",
        ),
        Call(
            f"""\
eventID, err := client.Track(ilara.Event{{ // waits in memory, is sent within a second
	PlayerID:  "{ID}",
	EventName: "level_complete",
	SessionID: "session_abc123",
	Properties: map[string]any{{
		"level": 5, "score": 12500, "time_seconds": 180, "stars_earned": 3,
	}},
}})""",
            "eventID",
        ),
    ),
    "event_batch": ClientCalls(
        Call(
            f"""\
player_id = "{ID}"
receipt = ilara.track_batch([
    {{
        "player_id": player_id,
        "event_name": "item_collect",
        "properties": {{"item": "coin", "amount": 100}},
    }},
    {{
        "player_id": player_id,
        "event_name": "enemy_defeat",
        "properties": {{"enemy_type": "boss"}},
    }},
])""",
            'receipt["accepted"], receipt["rejected"]',
        ),
        Call(
            f"""\
const player_id = "{ID}";
const receipt = await ilara.trackBatch([
  {{
    player_id,
    event_name: "item_collect",
    properties: {{ item: "coin", amount: 100 }},
  }},
  {{
    player_id,
    event_name: "enemy_defeat",
    properties: {{ enemy_type: "boss" }},
  }},
]);""",
            "receipt.accepted, receipt.rejected",
        ),
        Call(
            f"""\
playerID := "{ID}"
receipt, err := client.TrackBatch(ctx, []ilara.Event{{
	{{
		PlayerID:   playerID,
		EventName:  "item_collect",
		Properties: map[string]any{{"item": "coin", "amount": 100}},
	}},
	{{
		PlayerID:   playerID,
		EventName:  "enemy_defeat",
		Properties: map[string]any{{"enemy_type": "boss"}},
	}},
}})""",
            "receipt.Accepted, receipt.Rejected",
        ),
    ),
    "event_stream": ClientCalls(
        Call("""\
for event in ilara.stream():  # comes back by itself after a break
    print(event["event_name"], event["properties"])"""),
        Call("""\
for await (const event of ilara.stream()) { // comes back by itself after a break
  console.log(event.event_name, event.properties);
}"""),
        Call("""\
// Comes back by itself after a break.
err = client.Stream(ctx, ilara.StreamOptions{}, func(event ilara.StreamedEvent) error {
	fmt.Println(event.EventName, event.Properties)
	return nil
})"""),
    ),
    "flag_evaluate": ClientCalls(
        Call(
            f"""\
player_id = "{ID}"
# In a game: never raises, and gives the default if anything goes wrong.
shows_tutorial = ilara.flag("new_tutorial", player_id, default=False)
# With the reason.
evaluation = ilara.evaluate_flag("new_tutorial", player_id)""",
            'shows_tutorial, evaluation["reason"]',
        ),
        Call(
            f"""\
const playerId = "{ID}";
// In a game: never throws, and gives the default if anything goes wrong.
const showsTutorial = await ilara.flag("new_tutorial", playerId, false);
// With the reason.
const evaluation = await ilara.evaluateFlag("new_tutorial", playerId);""",
            "showsTutorial, evaluation.reason",
        ),
        Call(
            f"""\
playerID := "{ID}"
// In a game: never fails, and gives the default if anything goes wrong.
showsTutorial := ilara.Flag(ctx, client, "new_tutorial", playerID, false)
// With the reason.
with := ilara.EvaluationOptions{{}}
evaluation, err := client.EvaluateFlag(ctx, "new_tutorial", playerID, with)""",
            "showsTutorial, evaluation.Reason",
        ),
    ),
    "flag_evaluate_all": ClientCalls(
        Call(f'flags = ilara.evaluate_flags("{ID}")', 'flags["new_tutorial"]["value"]'),
        Call(f'const flags = await ilara.evaluateFlags("{ID}");', "flags.new_tutorial.value"),
        Call(
            f"""\
flags, err := client.EvaluateFlags(ctx, "{ID}", ilara.EvaluationOptions{{}})""",
            'string(flags["new_tutorial"].Value)',
        ),
    ),
}
