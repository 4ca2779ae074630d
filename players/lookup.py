"""Finding players by anything that a ticket may name: ids, e-mail address, device, transaction,
session, and the attributes that staff declared searchable."""

import re
import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from ilara_admin.api.bodies import digest_of
from ilara_admin.models import Environment
from players.personal import mask_device, mask_email, mask_text
from players.services import LEDGER_ID
from players.values import ATTRIBUTE, DEVICE_ID, EMAIL, searchable_fields

MAX_TEXT = 255  # the longest external id
MAX_LEDGER_ID = 128
EXTERNAL_ID, LINKED_ID, PLAYER_ID = "external_id", "linked_id", "player_id"
TRANSACTION, SESSION = "transaction", "session"
# Also the order of results.
LABELS = {
    EXTERNAL_ID: "External id",
    LINKED_ID: "Linked id",
    PLAYER_ID: "Player id",
    EMAIL: "E-mail address",
    DEVICE_ID: "Device id",
    TRANSACTION: "Transaction",
    SESSION: "Session",
}
PERSONAL = {LINKED_ID, EMAIL, DEVICE_ID}
WHOLE = {PLAYER_ID, TRANSACTION, SESSION}
_SPACE = re.compile(r"\s")


class FoundPlayer(NamedTuple):
    """`way` is what matched: a key of LABELS, or `attributes.<name>`. `matched` is the stored text,
    e-mails and attributes in lower case. `exact` if the whole text matched. `digest` is that of the
    purchase that a transaction id named."""

    way: str
    matched: str
    exact: bool
    player_id: uuid.UUID
    external_id: str
    last_seen_at: datetime
    digest: bytes | None


def label_of(way: str) -> str:
    """ "E-mail address", or the name of an attribute."""
    return LABELS.get(way) or way.removeprefix(ATTRIBUTE)


def is_personal(way: str, personal_attributes: Collection[str]) -> bool:
    return way in PERSONAL or (
        way.startswith(ATTRIBUTE) and way.removeprefix(ATTRIBUTE) in personal_attributes
    )


def mask_matched(way: str, matched: str) -> str:
    """What staff who may not see personal data read in place of a personal `matched`."""
    if way == EMAIL:
        return mask_email(matched) or ""
    return mask_device(matched) or "" if way == DEVICE_ID else mask_text(matched)


def ways_for(text: str, fields: Collection[str]) -> list[str]:
    """In what ways a text may name a player, in the order of results. `fields` are those of
    searchable values. Nothing has a text that is empty, too long, or contains NUL."""
    if not text or len(text) > MAX_TEXT or "\0" in text:
        return []
    possible = {
        PLAYER_ID: bool(uuid_of(text)),
        EMAIL: not _SPACE.search(text),
        TRANSACTION: len(text) <= MAX_LEDGER_ID,
        SESSION: len(text) <= MAX_LEDGER_ID,
    }
    ways = [way for way in LABELS if possible.get(way, True)]
    return ways + [field for field in fields if field.startswith(ATTRIBUTE)]


def uuid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def players_found(
    environment: Environment, text: str, most: int, *, whole: Collection[str] = ()
) -> list[FoundPlayer]:
    """At most this many players by each way, exact matches first. The ways in `whole` must match
    the whole text; the others find what starts with it, but those of WHOLE. One statement."""
    fields = searchable_fields(environment)
    ways = ways_for(text, fields)
    if not ways:
        return []
    attributes = [way for way in ways if way.startswith(ATTRIBUTE)]
    digests = [digest_of(text)]
    if LEDGER_ID.fullmatch(text):  # as pages show a purchase without a transaction id
        digests.append(bytes.fromhex(text))
    params: dict[str, Any] = {
        "environment": environment.pk,
        "text": text,
        "uuid": uuid_of(text),
        "linked_end": text + _rest(LINKED_ID in whole),
        "end": text + _rest(EXTERNAL_ID in whole),
        "email": text if EMAIL in ways else None,
        "email_rest": _rest(EMAIL in whole),
        "device_end": text + _rest(DEVICE_ID in whole),
        "fields": attributes,
        "rests": [_rest(way in whole) for way in attributes],
        "digests": digests,
        "most": most,
    }
    with connection.cursor() as cursor:
        cursor.execute(PLAYERS, params)
        found = [FoundPlayer(*row) for row in cursor.fetchall()]
    places = {way: place for place, way in enumerate(ways)}
    found.sort(key=lambda each: (places[each.way], not each.exact, each.matched))
    return found


def _rest(whole: bool) -> str:
    """What follows a text in the last one that is found, in the order of bytes."""
    return "" if whole else LAST


LAST = chr(0x10FFFF)
MAX_SESSIONS = 1_000  # with one id, in all environments
# Each part reads one index. All texts compare byte by byte, e-mails and attributes in lower case.
PLAYERS = f"""
SELECT found.way, found.matched, found.exact, p.id, p.external_id, p.last_seen_at, found.digest
FROM (
    (SELECT 'external_id' AS way, external_id AS matched, external_id = %(text)s AS exact,
            id AS player_id, NULL::bytea AS digest
     FROM player WHERE environment_id = %(environment)s
       AND external_id COLLATE "C" >= %(text)s AND external_id COLLATE "C" <= %(end)s
     ORDER BY external_id COLLATE "C" LIMIT %(most)s)
    UNION ALL
    (SELECT 'linked_id', external_id, external_id = %(text)s, player_id, NULL
     FROM player_alias WHERE environment_id = %(environment)s
       AND external_id COLLATE "C" >= %(text)s AND external_id COLLATE "C" <= %(linked_end)s
     ORDER BY external_id COLLATE "C" LIMIT %(most)s)
    UNION ALL
    (SELECT 'email', lower(email), lower(email) = lower(%(email)s), id, NULL
     FROM player WHERE environment_id = %(environment)s
       AND lower(email) COLLATE "C" >= lower(%(email)s)
       AND lower(email) COLLATE "C" <= lower(%(email)s) || %(email_rest)s
     ORDER BY lower(email) COLLATE "C" LIMIT %(most)s)
    UNION ALL
    (SELECT 'device_id', device_id, device_id = %(text)s, id, NULL
     FROM player WHERE environment_id = %(environment)s
       AND device_id COLLATE "C" >= %(text)s AND device_id COLLATE "C" <= %(device_end)s
     ORDER BY device_id COLLATE "C" LIMIT %(most)s)
    UNION ALL
    (SELECT 'player_id', id::text, true, id, NULL FROM player WHERE id = %(uuid)s::uuid)
    UNION ALL
    (SELECT 'transaction', coalesce(transaction_id, encode(digest, 'hex')), true, player_id, digest
     FROM purchase
     WHERE environment_id = %(environment)s AND digest = ANY(%(digests)s) LIMIT %(most)s)
    UNION ALL
    (SELECT 'session', coalesce(session_id, encode(digest, 'hex')), true, player_id, NULL
     FROM (SELECT * FROM player_session
           WHERE digest = ANY(%(digests)s) LIMIT {MAX_SESSIONS}) AS s
     JOIN player ON id = player_id AND environment_id = %(environment)s LIMIT %(most)s)
    UNION ALL
    (SELECT field, value, value = lower(%(text)s), player_id, NULL
     FROM unnest(%(fields)s::text[], %(rests)s::text[]) AS asked (field, rest),
     LATERAL (SELECT v.value, v.player_id FROM player_value v
              WHERE v.environment_id = %(environment)s AND v.field = asked.field
                AND v.value >= lower(%(text)s) AND v.value <= lower(%(text)s) || rest
              ORDER BY v.value LIMIT %(most)s) AS v)
) AS found JOIN player p ON p.id = found.player_id AND p.environment_id = %(environment)s"""
