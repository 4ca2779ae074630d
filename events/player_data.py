"""Player data in the tables of events, for export and erasure."""

from typing import Any

from django.db import connection

from events.models import Event, EventName, EventProperty
from players.models import player_id_for
from players.player_data import Erasure, PlayerData, by_player_id, erase_rows
from players.redaction import Redaction, is_distinctive, like_patterns, within_json


def _erase_rejected(erasure: Erasure) -> int:
    """Rejected events are stored as sent, and name the player anywhere in any spelling."""
    namespace = erasure.player.environment.namespace
    ids = [player_id_for(namespace, name) for name in erasure.names]
    sent = {*erasure.names, *(text for each in ids for text in (str(each), each.hex))}
    within = [text for text in {*sent, *erasure.identifiers} if is_distinctive(text)]
    redaction = Redaction([*within, *map(within_json, within)])
    columns = ("event_name", "player", "message", "field", "payload")
    named = " OR ".join(f"{column} ILIKE ANY(%(patterns)s)" for column in columns)
    values: dict[str, Any] = {
        "environment": erasure.player.environment_id,
        "sent": [text.lower() for text in sent],
        "patterns": like_patterns(within),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT id, lower(player) = ANY(%(sent)s), {", ".join(columns)} FROM event_rejected
                WHERE environment_id = %(environment)s
                  AND (lower(player) = ANY(%(sent)s) OR {named})""",
            values,
        )
        ids = [
            id
            for id, is_players, *texts in cursor.fetchall()
            if is_players or any(text and redaction.text(text) != text for text in texts)
        ]
        cursor.execute("DELETE FROM event_rejected WHERE id = ANY(%s)", [ids])
        return int(cursor.rowcount)


def _sent_by_others(event_name: EventName) -> bool:
    """Whether events of the name are left; those of the player are erased before."""
    events = Event.objects.filter(environment_id=event_name.environment_id, name=event_name.name)
    return events.exists()


def _erase_names(erasure: Erasure) -> int:
    """Names of events and properties that a game built from the player's data, and descriptions."""
    environment_id = erasure.player.environment_id
    words = Redaction(erasure.identifiers)
    words.rows("event_name", ("description",), "environment_id = %s", [environment_id])
    names = EventName.objects.filter(environment_id=environment_id)
    deleted = 0
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT n.id, p.name FROM event_name n
               LEFT JOIN event_property p ON p.event_name_id = n.id AND p.name ILIKE ANY(%s)
               WHERE n.environment_id = %s AND (p.name IS NOT NULL OR n.name ILIKE ANY(%s))""",
            [patterns := like_patterns(erasure.identifiers), environment_id, patterns],
        )
        found = cursor.fetchall()
    for name_id, name in found:
        if name is not None and words.text(name) != name:
            rows = EventProperty.objects.filter(event_name_id=name_id, name=name)
            deleted += rows.delete()[0]
    for event_name in names.filter(pk__in={name_id for name_id, _ in found}):
        if words.text(event_name.name) != event_name.name and not _sent_by_others(event_name):
            deleted += event_name.delete()[0]
    return deleted


DATA = (
    by_player_id("event", "event", order="received_at, id"),
    # Not exported: it holds only digests of event ids.
    PlayerData("event_receipt", None, erase_rows("event_receipt")),
    PlayerData("event_rejected", None, _erase_rejected),
    PlayerData("event_name", None, _erase_names),
)
