"""What support has done in the sample game: a note, and the id of a guest who made an account."""

from datetime import datetime, timedelta

from ilara_admin.audit import Actor
from ilara_admin.demo.config import CHLOE, date_audit
from ilara_admin.models import Environment
from players.aliases import player_alias_link
from players.models import Player, PlayerAlias, PlayerNote
from players.notes import note_add

NOTE = """Lost the gems of the winter quest when switching phones. Gave back 120 of them by hand.
If it happens again: ask for the receipt first."""


def support_fill(environment: Environment, now: datetime) -> None:
    """For the payer who was seen last, who is on top of the list of players."""
    player = Player.objects.of(environment).payers().recent_first().first()
    if player is None:
        return
    name = player.external_id.rpartition("_")[2]
    moment = now - timedelta(days=2, hours=5)
    player_alias_link(player, f"guest_{name}", actor=Actor(CHLOE), reason="Made an account")
    note_add(player, NOTE, actor=Actor(CHLOE))
    PlayerAlias.objects.filter(player=player).update(created_at=moment)
    PlayerNote.objects.filter(player=player).update(created_at=moment)
    date_audit(environment, moment)
