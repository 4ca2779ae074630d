"""Example requests and responses of the Segments API, for the specification."""

from ilara_admin.api.endpoint import Example
from ilara_admin.api.json_schema import EXAMPLE_ID

EVALUATE = (
    Example(
        {"segment_id": "beta-testers", "player_id": EXAMPLE_ID, "is_member": True},
        {"player_id": EXAMPLE_ID},
    ),
)
OF_PLAYER = (
    Example(
        {
            "player_id": EXAMPLE_ID,
            "segments": [{"id": "beta-testers", "name": "Beta testers"}],
        }
    ),
)
