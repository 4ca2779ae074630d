"""Removes what names an erased player from texts of other objects: audit entries, reasons, rules.

Players choose some of their names, such as a user name, and a name may be a word that flags, rules
and other players use. So a name is removed from a sentence only if it is distinctive, and only
where it stands on its own: `hero-1` stays in `hero-12`. In documents, only values that stand for a
player are removed: the operands of conditions on ids and e-mail addresses, and the like.
"""

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db import connection

ERASED = "erased player"
MIN_CHARACTERS = 6
LONG = 16
PERSONAL = {
    "name", "username", "displayname", "nickname", "nick", "fullname", "realname", "playername",
    "phone", "phonenumber", "address",
}  # fmt: skip
# Names of values that stand for a player, in documents and audit entries.
OF_PLAYERS = {"player", "players", "ids", "externalid", "aliases", "alias", "email", "deviceid"}
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def identifiers(player_id: uuid.UUID, values: Iterable[object]) -> list[str]:
    """The id in its spellings, and the texts among the values, longest first."""
    texts = {value for value in values if isinstance(value, str) and value.strip()}
    return sorted({str(player_id), player_id.hex, *texts}, key=lambda text: (-len(text), text))


def personal_texts(document: Any, name: str = "") -> set[str]:
    """The texts of a JSON document, such as a player's attributes, that are e-mail addresses or
    stand under a name of PERSONAL."""
    match document:
        case str():
            return {document} if _is_of_players(name) or EMAIL.fullmatch(document) else set()
        case dict():
            parts = [personal_texts(part, key) for key, part in document.items()]
        case list():
            parts = [personal_texts(part, name) for part in document]
        case _:
            return set()
    return set().union(*parts)


def like_patterns(names: Iterable[str]) -> list[str]:
    """ILIKE patterns that find the names within text and within JSON text."""
    forms = {form for name in names for form in (name, json.dumps(name, ensure_ascii=False)[1:-1])}
    return [f"%{re.sub(r'([\\%_])', r'\\\1', form)}%" for form in sorted(forms)]


def is_distinctive(name: str) -> bool:
    """Whether a text that contains the name is about the player: an id, an e-mail address or a full
    name, but not a word like `gold`, `beta-testers` or `new_tutorial`."""
    special = "@" in name or any(each.isdigit() or each.isspace() for each in name)
    return len(name) >= LONG or (special and len(name) >= MIN_CHARACTERS)


def _is_of_players(name: str) -> bool:
    folded = re.sub(r"[\W_]", "", name).lower()
    return folded in OF_PLAYERS or folded in PERSONAL


class Redaction:
    """Replaces names by ERASED. With `only_values`, only in values that stand for a player, as in
    the documents of flags and segments, which must stay valid."""

    def __init__(self, names: Sequence[str], *, only_values: bool = False) -> None:
        self.names = names
        self.folded = {name.lower() for name in names}
        words = [re.escape(name) for name in names if is_distinctive(name) and not only_values]
        pattern = rf"(?<![\w-])(?:{'|'.join(words)})(?![\w-])" if words else r"(?!)"
        self.pattern = re.compile(pattern, re.IGNORECASE)

    def text(self, text: str) -> str:
        return self.pattern.sub(ERASED, text)

    def json(self, value: Any, name: str = "") -> Any:
        """`name` is that of the value, or of the field of its condition."""
        match value:
            case str():
                is_players = _is_of_players(name) and value.lower() in self.folded
                return ERASED if is_players else self.text(value)
            case list():
                return [self.json(item, name) for item in value]
            case {"field": str(field), "value": operand}:
                return {**value, "value": self.json(operand, field.rpartition(".")[2])}
            case dict():
                # A `name` is that of a flag, a variant or a segment.
                return {
                    self.text(key): self.json(item, "" if key == "name" else key)
                    for key, item in value.items()
                }
        return value

    def rows(self, table: str, columns: Sequence[str], where: str, params: Sequence[Any]) -> int:
        """Change the text and JSON columns of the rows `t` that meet a condition. Returns how many
        changed."""
        conditions = " OR ".join(f"t.{column}::text ILIKE ANY(%s)" for column in columns)
        patterns = [like_patterns(self.names)] * len(columns)
        values = ", ".join(f"to_jsonb(t.{column})::text" for column in columns)
        changed = 0
        with connection.cursor() as cursor:
            cursor.execute(
                f"""SELECT id, {values} FROM {table} t WHERE ({where}) AND ({conditions})
                    ORDER BY id FOR NO KEY UPDATE""",
                [*params, *patterns],
            )
            for id, *texts in cursor.fetchall():
                before = [None if text is None else msgspec.json.decode(text) for text in texts]
                after = [self.json(value) for value in before]
                if after != before:
                    self._update(cursor, table, columns, id, after)
                    changed += 1
        return changed

    def _update(
        self, cursor: Any, table: str, columns: Sequence[str], id: int, values: Sequence[Any]
    ) -> None:
        names = ", ".join(columns)
        row = dict(zip(columns, values, strict=True))
        cursor.execute(
            f"""UPDATE {table} SET ({names}) = (
                    SELECT {names} FROM jsonb_populate_record(NULL::{table}, %s))
                WHERE id = %s""",
            [msgspec.json.encode(row).decode(), id],
        )
