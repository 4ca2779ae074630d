"""What support has done in the sample game: a note, and the id of a guest who made an account."""

from ilara_admin.core.audit import Actor
from ilara_admin.demo.config import CHLOE
from ilara_admin.models import Environment
from players.aliases import player_alias_link
from players.models import Player
from players.notes import note_add

NOTE = """Lost the gems of the winter quest when switching phones. Gave back 120 of them by hand.
If it happens again: ask for the receipt first."""


def support_fill(environment: Environment) -> None:
    """For the payer who was seen last, who is on top of the list of players."""
    player = Player.objects.of(environment).payers().recent_first().first()
    if player is None:
        return
    guest = f"guest_{player.external_id.rpartition('_')[2]}"
    player_alias_link(player, guest, actor=Actor(CHLOE), reason="Made an account")
    note_add(player, NOTE, actor=Actor(CHLOE))
