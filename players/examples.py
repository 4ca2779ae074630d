"""Example requests and replies of the Players API, for the OpenAPI document."""

from ilara_admin.api.endpoint import Example
from ilara_admin.api.json_schema import EXAMPLE_ID

REGISTRATION = {
    "external_id": "player_123",
    "device_id": "device_abc",
    "email": "player@example.com",
    "attributes": {"level": 45, "country": "US", "is_vip": True},
}
PLAYER = {
    "id": EXAMPLE_ID,
    "external_id": "player_123",
    "device_id": "device_abc",
    "email": "player@example.com",
    "lifecycle_stage": "active",
    "session_count": 12,
    "total_revenue": 49.99,
    "is_payer": True,
    "first_seen_at": "2025-01-01T00:00:00Z",
    "last_seen_at": "2025-01-25T14:30:00Z",
    "attributes": {"level": 45, "country": "US", "is_vip": True},
}
NEW = PLAYER | {
    "lifecycle_stage": "new",
    "session_count": 0,
    "total_revenue": 0,
    "is_payer": False,
    "first_seen_at": "2025-01-25T14:30:00Z",
}
MASKED = PLAYER | {"email": "p***@example.com"}


REGISTER = (
    Example(NEW, REGISTRATION, status=201, name="new"),
    Example(PLAYER, REGISTRATION, name="known"),
)
LIST = (Example({"players": [PLAYER], "next_cursor": None}, query={"limit": "50"}),)
GET = (Example(MASKED),)
PATCH = (
    Example(
        PLAYER | {"attributes": {"level": 46, "country": "US", "is_vip": True}},
        {"email": "player@example.com", "attributes": {"level": 46, "guild": None}},
    ),
)
SESSION = (
    Example(
        MASKED | {"session_count": 13},
        {
            "session_id": "session_abc123",
            "started_at": "2025-01-25T14:30:00Z",
            "duration_seconds": 1800,
        },
    ),
)
PURCHASE = (
    Example(
        MASKED | {"total_revenue": 54.98},
        {
            "amount": 4.99,
            "currency": "USD",
            "transaction_id": "order_8812",
            "product_id": "sword_01",
        },
        name="body",
    ),
    Example(MASKED | {"total_revenue": 54.98}, query={"amount": "4.99"}, name="address"),
)
LIFECYCLE = (
    Example(
        {
            "player_id": EXAMPLE_ID,
            "lifecycle_stage": "active",
            "stage_since": "2025-01-08T00:00:00Z",
            "first_seen_at": "2025-01-01T00:00:00Z",
            "last_seen_at": "2025-01-25T14:30:00Z",
            "days_since_last_seen": 2,
            "session_count": 12,
            "next": {"stage": "at_risk", "at": "2025-02-01T14:30:00Z"},
        }
    ),
)
CHURN_RISK = (
    Example(
        {
            "player_id": EXAMPLE_ID,
            "risk_score": 0.3412,
            "risk_level": "medium",
            "factors": [
                {
                    "factor": "inactivity",
                    "description": "No activity for 6 days; usually plays every 2 days.",
                    "contribution": 0.2216,
                },
                {
                    "factor": "usual_loss",
                    "description": "10 active days so far; after each, some players stop for good.",
                    "contribution": 0.1196,
                },
            ],
            "prediction_date": "2025-01-31T00:00:00Z",
            "confidence": 0.6588,
            "model": "mbg-nbd/prior",
        }
    ),
)
LINKED = {"player_id": EXAMPLE_ID, "external_id": "player_123", "aliases": ["account_456"]}
ALIAS_LINK = (
    Example(LINKED, {"external_id": "account_456"}, status=201, name="new"),
    Example(LINKED, {"external_id": "account_456"}, name="known"),
)
ALIAS_UNLINK = (Example(LINKED | {"aliases": []}),)
