"""Each operation as a call of the clients in static/clients/.

The values are those of the operation's first example. The tests run every snippet.
"""

from dataclasses import dataclass

from ilara_admin.api.json_schema import EXAMPLE_ID as ID


@dataclass(frozen=True, slots=True)
class Call:
    """`code` is the call, `shows` the expression to print. In Go, `code` also sets `err`, which is
    checked in between."""

    code: str
    shows: str = ""


@dataclass(frozen=True, slots=True)
class ClientCalls:
    python: Call
    node: Call
    go: Call


CALLS: dict[str, ClientCalls] = {
    "player_register": ClientCalls(
        Call(
            """\
player = ilara.register_player(
    "player_123",
    device_id="device_abc",
    email="player@example.com",
    attributes={"level": 45, "country": "US", "is_vip": True},
)""",
            'player["id"]',
        ),
        Call(
            """\
const player = await ilara.registerPlayer("player_123", {
  device_id: "device_abc",
  email: "player@example.com",
  attributes: { level: 45, country: "US", is_vip: true },
});""",
            "player.id",
        ),
        Call(
            """\
device, email := "device_abc", "player@example.com"
player, err := client.RegisterPlayer(ctx, "player_123", ilara.PlayerFields{
	DeviceID:   &device,
	Email:      &email,
	Attributes: map[string]any{"level": 45, "country": "US", "is_vip": true},
})""",
            "player.ID",
        ),
    ),
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
    "player_get": ClientCalls(
        Call(f'player = ilara.get_player("{ID}")', 'player["external_id"]'),
        Call(f'const player = await ilara.getPlayer("{ID}");', "player.external_id"),
        Call(f'player, err := client.GetPlayer(ctx, "{ID}")', "player.ExternalID"),
    ),
    "player_get_by_external_id": ClientCalls(
        Call('player = ilara.get_player_by_external_id("player_123")', 'player["id"]'),
        Call('const player = await ilara.getPlayerByExternalId("player_123");', "player.id"),
        Call('player, err := client.GetPlayerByExternalID(ctx, "player_123")', "player.ID"),
    ),
    "player_patch": ClientCalls(
        Call(
            f"""\
player = ilara.update_player(
    "{ID}",
    email="player@example.com",
    attributes={{"level": 46, "guild": None}},
)""",
            'player["attributes"]',
        ),
        Call(
            f"""\
const player = await ilara.updatePlayer("{ID}", {{
  email: "player@example.com",
  attributes: {{ level: 46, guild: null }},
}});""",
            "player.attributes",
        ),
        Call(
            f"""\
email := "player@example.com"
player, err := client.UpdatePlayer(ctx, "{ID}", ilara.PlayerFields{{
	Email:      &email,
	Attributes: map[string]any{{"level": 46, "guild": nil}},
}})""",
            "player.Attributes",
        ),
    ),
    "session_record": ClientCalls(
        Call(
            f"""\
player = ilara.record_session(
    "{ID}",
    session_id="session_abc123",
    started_at=datetime.fromisoformat("2025-01-25T14:30:00+00:00"),
    duration_seconds=1800,
)""",
            'player["session_count"]',
        ),
        Call(
            f"""\
const player = await ilara.recordSession("{ID}", {{
  session_id: "session_abc123",
  started_at: new Date("2025-01-25T14:30:00Z"),
  duration_seconds: 1800,
}});""",
            "player.session_count",
        ),
        Call(
            f"""\
started, err := time.Parse(time.RFC3339, "2025-01-25T14:30:00Z")
if err != nil {{
	log.Fatal(err)
}}
player, err := client.RecordSession(ctx, "{ID}", ilara.Session{{
	ID:              "session_abc123",
	StartedAt:       started,
	DurationSeconds: 1800,
}})""",
            "player.SessionCount",
        ),
    ),
    "purchase_record": ClientCalls(
        Call(
            f"""\
player = ilara.record_purchase(
    "{ID}",
    "4.99",
    currency="USD",
    transaction_id="order_8812",
    product_id="sword_01",
)""",
            'player["total_revenue"]',
        ),
        Call(
            f"""\
const player = await ilara.recordPurchase("{ID}", "4.99", {{
  currency: "USD",
  transaction_id: "order_8812",
  product_id: "sword_01",
}});""",
            "player.total_revenue",
        ),
        Call(
            f"""\
player, err := client.RecordPurchase(ctx, "{ID}", ilara.Purchase{{
	Amount:        "4.99",
	Currency:      "USD",
	TransactionID: "order_8812",
	ProductID:     "sword_01",
}})""",
            "player.TotalRevenue",
        ),
    ),
    "player_lifecycle": ClientCalls(
        Call(f'lifecycle = ilara.get_lifecycle("{ID}")', 'lifecycle["lifecycle_stage"]'),
        Call(
            f'const lifecycle = await ilara.getLifecycle("{ID}");',
            "lifecycle.lifecycle_stage",
        ),
        Call(f'lifecycle, err := client.GetLifecycle(ctx, "{ID}")', "lifecycle.LifecycleStage"),
    ),
    "churn_risk": ClientCalls(
        Call(f'risk = ilara.get_churn_risk("{ID}")', 'risk["risk_level"]'),
        Call(f'const risk = await ilara.getChurnRisk("{ID}");', "risk.risk_level"),
        Call(f'risk, err := client.GetChurnRisk(ctx, "{ID}")', "risk.RiskLevel"),
    ),
    "alias_link": ClientCalls(
        Call(f'linked = ilara.link_alias("{ID}", "account_456")', 'linked["aliases"]'),
        Call(f'const linked = await ilara.linkAlias("{ID}", "account_456");', "linked.aliases"),
        Call(f'linked, err := client.LinkAlias(ctx, "{ID}", "account_456")', "linked.Aliases"),
    ),
    "alias_unlink": ClientCalls(
        Call(f'left = ilara.unlink_alias("{ID}", "account_456")', 'left["aliases"]'),
        Call(f'const left = await ilara.unlinkAlias("{ID}", "account_456");', "left.aliases"),
        Call(f'left, err := client.UnlinkAlias(ctx, "{ID}", "account_456")', "left.Aliases"),
    ),
    "event_track": ClientCalls(
        Call(
            f"""\
event_id = ilara.track(  # queued, sent within a second
    "{ID}",
    "level_complete",
    {{"level": 5, "score": 12500, "time_seconds": 180, "stars_earned": 3}},
    session_id="session_abc123",
)
ilara.close()  # sends queued events""",
            "event_id",
        ),
        Call(
            f"""\
const eventId = ilara.track( // queued, sent within a second
  "{ID}",
  "level_complete",
  {{ level: 5, score: 12500, time_seconds: 180, stars_earned: 3 }},
  {{ session_id: "session_abc123" }},
);
await ilara.close(); // sends queued events""",
            "eventId",
        ),
        Call(
            f"""\
eventID, err := client.Track(ilara.Event{{ // queued, sent within a second
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
for event in ilara.stream():  # reconnects automatically
    print(event["event_name"], event["properties"])"""),
        Call("""\
for await (const event of ilara.stream()) { // reconnects automatically
  console.log(event.event_name, event.properties);
}"""),
        Call("""\
// Reconnects automatically.
err = client.Stream(ctx, ilara.StreamOptions{}, func(event ilara.StreamedEvent) error {
	fmt.Println(event.EventName, event.Properties)
	return nil
})"""),
    ),
    "flag_evaluate": ClientCalls(
        Call(
            f"""\
player_id = "{ID}"
# In a game: never raises; returns the default if anything fails.
shows_tutorial = ilara.flag("new_tutorial", player_id, default=False)
# With the reason.
evaluation = ilara.evaluate_flag("new_tutorial", player_id)""",
            'shows_tutorial, evaluation["reason"]',
        ),
        Call(
            f"""\
const playerId = "{ID}";
// In a game: never throws; returns the default if anything fails.
const showsTutorial = await ilara.flag("new_tutorial", playerId, false);
// With the reason.
const evaluation = await ilara.evaluateFlag("new_tutorial", playerId);""",
            "showsTutorial, evaluation.reason",
        ),
        Call(
            f"""\
playerID := "{ID}"
// In a game: never fails; returns the default if anything goes wrong.
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
    "segment_evaluate": ClientCalls(
        Call(f'is_member = ilara.evaluate_segment("beta-testers", "{ID}")', "is_member"),
        Call(
            f'const isMember = await ilara.evaluateSegment("beta-testers", "{ID}");',
            "isMember",
        ),
        Call(f'isMember, err := client.EvaluateSegment(ctx, "beta-testers", "{ID}")', "isMember"),
    ),
    "player_segments": ClientCalls(
        Call(f'segments = ilara.get_player_segments("{ID}")', "segments"),
        Call(f'const segments = await ilara.getPlayerSegments("{ID}");', "segments"),
        Call(f'segments, err := client.GetPlayerSegments(ctx, "{ID}")', "segments"),
    ),
}
