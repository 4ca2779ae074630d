"""Example requests and responses of the Events API, for the specification."""

from ilara_admin.api.endpoint import Example
from ilara_admin.api.json_schema import EXAMPLE_ID

STRANGER = "00000000-0000-4000-8000-000000000000"
RECEIPT = {
    "event_id": "evt_1a2b3c4d5e6f47889900aabbccddeeff",
    "player_id": EXAMPLE_ID,
    "event_name": "level_complete",
    "timestamp": "2025-01-25T14:30:00Z",
    "received_at": "2025-01-25T14:30:00Z",
    "status": "accepted",
}
TRACK = (
    Example(
        RECEIPT,
        {
            "player_id": EXAMPLE_ID,
            "event_name": "level_complete",
            "session_id": "session_abc123",
            "properties": {"level": 5, "score": 12500, "time_seconds": 180, "stars_earned": 3},
        },
        status=201,
    ),
)
BATCH = (
    Example(
        {"accepted": 2, "duplicates": 0, "rejected": [], "conflicts": []},
        {
            "events": [
                {
                    "player_id": EXAMPLE_ID,
                    "event_name": "item_collect",
                    "properties": {"item": "coin", "amount": 100},
                },
                {
                    "player_id": EXAMPLE_ID,
                    "event_name": "enemy_defeat",
                    "properties": {"enemy_type": "boss"},
                },
            ]
        },
    ),
    Example(
        {
            "accepted": 1,
            "duplicates": 0,
            "rejected": [
                {
                    "index": 1,
                    "code": "NOT_FOUND",
                    "message": "Player not found",
                    "field": None,
                }
            ],
            "conflicts": [],
        },
        {
            "events": [
                {"player_id": EXAMPLE_ID, "event_name": "enemy_defeat"},
                {"player_id": STRANGER, "event_name": "enemy_defeat"},
            ]
        },
        name="partly_rejected",
    ),
    Example(
        {
            "accepted": 1,
            "duplicates": 1,
            "rejected": [],
            "conflicts": [{"index": 1, "field": "properties"}],
        },
        {
            "events": [
                {
                    "player_id": EXAMPLE_ID,
                    "event_name": "enemy_defeat",
                    "event_id": "evt_8812",
                    "properties": {"enemy_type": enemy},
                }
                for enemy in ("boss", "dragon")
            ]
        },
        name="repeated_with_other_content",
    ),
)
STREAM = (
    Example(
        "retry: 3000\n"
        "\n"
        ": alive\n"
        "id: 4710\n"
        "\n"
        "id: 4711\n"
        'data: {"event_id":"evt_1a2b3c4d5e6f47889900aabbccddeeff",'
        f'"player_id":"{EXAMPLE_ID}",'
        '"event_name":"level_complete","timestamp":"2025-01-25T14:30:00Z",'
        '"received_at":"2025-01-25T14:30:00Z","status":"accepted",'
        '"session_id":"session_abc123","properties":{"level":5}}\n'
        "\n"
    ),
)
