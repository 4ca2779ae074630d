"""Removes what names an erased player from texts of other objects: audit entries, reasons, rules.

A row is found by a substring and then changed only where the name stands on its own, so that
`hero-1` stays in `hero-12`. A name of fewer than MIN_CHARACTERS is changed only where it is a whole
value: within a sentence it might be anything.
"""

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db import connection

ERASED = "erased player"
MIN_CHARACTERS = 4
PERSONAL = {
    "name", "username", "displayname", "nickname", "nick", "fullname", "realname", "playername",
    "phone", "phonenumber", "address",
}  # fmt: skip
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
            personal = re.sub(r"[\W_]", "", name).lower() in PERSONAL
            return {document} if personal or EMAIL.fullmatch(document) else set()
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


class Redaction:
    """Replaces names by ERASED. With `whole`, only where they are a whole value."""

    def __init__(self, names: Sequence[str], *, whole: bool = False) -> None:
        self.names = names
        self.folded = {name.lower() for name in names}
        long = [re.escape(name) for name in names if len(name) >= MIN_CHARACTERS and not whole]
        words = rf"(?<![\w-])(?:{'|'.join(long)})(?![\w-])" if long else r"(?!)"
        self.pattern = re.compile(words, re.IGNORECASE)

    def text(self, text: str) -> str:
        return ERASED if text.lower() in self.folded else self.pattern.sub(ERASED, text)

    def json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(name): self.json(item) for name, item in value.items()}
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
