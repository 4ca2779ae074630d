"""Events of the ledgers: the statement that stores a session, purchase or refund also logs an
event, under a name reserved for the server. The events app registers the INSERT clause."""

SESSION_EVENT = "ilara.session"
PURCHASE_EVENT = "ilara.purchase"
REFUND_EVENT = "ilara.refund"
REVERSAL_EVENT = "ilara.refund_reversed"
LOGGED_EVENTS = (SESSION_EVENT, PURCHASE_EVENT, REFUND_EVENT, REVERSAL_EVENT)

_inserts: list[str] = []


def register(insert: str) -> None:
    """`insert` precedes a SELECT of player_id, received_at, environment_id, event_id, name,
    session_id, properties and occurred_at."""
    _inserts[:] = [insert]


def insert_sql() -> str:
    (insert,) = _inserts
    return insert
