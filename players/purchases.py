"""The purchases of a player, and the address of one of them."""

import uuid

from ilara_admin.models import Environment
from ilara_admin.web.access import url_in


def purchase_anchor(digest: bytes) -> str:
    """The id of the row of a purchase on the player's page."""
    return f"purchase-{bytes(digest).hex()}"


def purchase_url(environment: Environment, player_id: uuid.UUID, digest: bytes) -> str:
    """The player's page at one purchase, which the page shows however old it is."""
    page = url_in(environment, "player_detail", player_id)
    return f"{page}?purchase={bytes(digest).hex()}#{purchase_anchor(digest)}"
