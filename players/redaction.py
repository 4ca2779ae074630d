"""Removes what names an erased player from texts of other objects: audit entries, reasons, rules.

Players choose some of their names, such as a user name, and a name may be a word that flags, rules
and other players use. So a name is removed from a sentence only if it is distinctive, and not where
it is part of a longer word: `hero-1` stays in `hero-12`. In documents, only values that identify a
player are removed: operands of conditions on ids and e-mail addresses, and the like. Keys stay.
"""

import json
import re
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from django.db import connection

ERASED = "erased player"
MIN_CHARACTERS = 6
LONG = 16
# Replaces a name in a sentence. No longer than a name, so that the sentence fits into its column.
ERASED_WORD = "erased"
# Names of values that a player's own attributes give to that player, without case and punctuation.
PERSONAL = {
    "name", "username", "displayname", "nickname", "nick", "fullname", "realname", "playername",
    "phone", "phonenumber", "address",
}  # fmt: skip
# Names of values that identify a player, in documents and audit entries.
OF_PLAYERS = {"player", "players", "ids", "externalid", "aliases", "alias", "email", "deviceid"}
# Names of texts that staff wrote, in documents and audit entries.
SENTENCES = {"name", "description", "owner", "reason", "_reason", "text", "tags", "filters"}
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# A name does not begin within a longer id, address, number or time.
BEFORE = r"(?<![\w@+-])(?<!\w\.)"


def identifiers(player_id: uuid.UUID, values: Iterable[object]) -> list[str]:
    """The id in its spellings, and the texts among the values, longest first."""
    texts = {value for value in values if isinstance(value, str) and value.strip()}
    return sorted({str(player_id), player_id.hex, *texts}, key=lambda text: (-len(text), text))


def personal_texts(document: Any, name: str = "") -> set[str]:
    """The texts in a player's attributes that name this player: those under a name of PERSONAL, and
    e-mail addresses under a name with `mail`. Objects in a list are about others, such as
    friends."""
    match document:
        case str():
            folded = _folded(name)
            is_email = "mail" in folded and EMAIL.fullmatch(document)
            return {document} if folded in PERSONAL or is_email else set()
        case dict():
            parts = [personal_texts(part, key) for key, part in document.items()]
        case list():
            parts = [personal_texts(part, name) for part in document if isinstance(part, str)]
        case _:
            return set()
    return set().union(*parts)


def like_patterns(names: Iterable[str]) -> list[str]:
    """ILIKE patterns that find the names within text and within JSON text."""
    forms = {form for name in names for form in (name, within_json(name))}
    return [f"%{re.sub(r'([\\%_])', r'\\\1', form)}%" for form in sorted(forms)]


def within_json(name: str) -> str:
    """The name as JSON text contains it: escaped, without quotes."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def is_distinctive(name: str) -> bool:
    """Whether a text that contains the name is about the player: an id, an e-mail address or a full
    name, but not a word like `gold`, `beta-testers` or `new_tutorial`."""
    special = "@" in name or any(each.isdigit() or each.isspace() for each in name)
    return len(name) >= LONG or (special and len(name) >= MIN_CHARACTERS)


class Redaction:
    """Removes names from texts and documents. The `keys` of flags or segments stay in texts."""

    def __init__(self, names: Sequence[str], keys: Collection[str] = ()) -> None:
        self.names = names
        self.folded = {name.lower() for name in names}
        words = [_alone(name) for name in names if is_distinctive(name) and name not in keys]
        pattern = f"{BEFORE}(?:{'|'.join(words)})" if words else r"(?!)"
        self.pattern = re.compile(pattern, re.IGNORECASE)

    def text(self, text: str) -> str:
        return self.pattern.sub(ERASED_WORD, text)

    def json(self, value: Any, name: str = "") -> Any:
        """A document, or the part of it under a name."""
        match value:
            case str() if _folded(name) in OF_PLAYERS:
                return self._value(value)
            case str() if name in SENTENCES:
                return self.text(value)
            case list():
                return [self.json(item, name) for item in value]
            case {"label": str(label), "url": str(url), **rest} if not rest:
                return {"label": self.text(label), "url": self.text(url)}
            case {"field": str(field), "value": operand}:
                return {**value, "value": self._operand(field, operand)}
            case dict():
                return {key: self.json(item, key) for key, item in value.items()}
        return value

    def _operand(self, field: str, operand: Any) -> Any:
        if _folded(field.rpartition(".")[2]) not in OF_PLAYERS | PERSONAL:
            return operand
        if isinstance(operand, list):
            return [self._value(item) for item in operand]
        return self._value(operand)

    def _value(self, value: Any) -> Any:
        return ERASED if isinstance(value, str) and value.lower() in self.folded else value

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
                after = [
                    self.text(value) if isinstance(value, str) else self.json(value, column)
                    for value, column in zip(before, columns, strict=True)
                ]
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


def _alone(name: str) -> str:
    """A pattern for the name where no longer one continues. A file extension may follow:
    `hero-1.csv`."""
    longer = r"(?:\.(?!(?:csv|tsv|txt)\b))?\w" if "@" in name else r"\w|\.\d"
    return rf"{re.escape(name)}(?!{longer}|[@-])"


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
