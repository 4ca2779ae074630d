"""The differences between the configurations of two environments. No Django."""

from dataclasses import dataclass
from typing import NamedTuple

from ilara_admin.config import words
from ilara_admin.config.document import KINDS, Config, ConfigEntry
from ilara_admin.core.diff import Change
from ilara_admin.core.json_equality import json_equal
from ilara_admin.core.path_error import PathError


class ConfigKey(NamedTuple):
    """The kind and the key of a flag or a segment, as text `flags:new-shop`."""

    kind: str
    key: str

    @classmethod
    def read(cls, text: str) -> "ConfigKey | None":
        kind, colon, key = text.partition(":")
        return cls(kind, key) if colon and kind in KINDS else None

    def __str__(self) -> str:
        return f"{self.kind}:{self.key}"

    @property
    def noun(self) -> str:
        return self.kind.removesuffix("s")


@dataclass(frozen=True, slots=True)
class Difference:
    """A flag or a segment that is not the same here and there. `changes` are from here to there; if
    one side lacks it, one change with its text on the other side."""

    name: ConfigKey
    is_here: bool
    is_there: bool
    changes: list[Change]


def entry_in(config: Config, name: ConfigKey) -> ConfigEntry | None:
    return config.entries(name.kind).get(name.key)


def compare(here: Config, there: Config) -> list[Difference]:
    """What differs between two configurations: segments, then flags, by key."""
    names = sorted(
        {ConfigKey(kind, key) for side in (here, there) for kind in KINDS
         for key in side.entries(kind)},
        key=lambda name: (KINDS.index(name.kind), name.key),
    )  # fmt: skip
    found = []
    for name in names:
        one, other = entry_in(here, name), entry_in(there, name)
        if one is None or other is None:
            texts = (introduced(name.kind, side) if side else "" for side in (one, other))
            found.append(Difference(name, bool(one), bool(other), [Change("All of it", *texts)]))
        elif not json_equal(one, other):
            found.append(Difference(name, True, True, changes(name.kind, one, other)))
    return found


def changes(kind: str, before: ConfigEntry, after: ConfigEntry) -> list[Change]:
    """The differences between two entries in words, also of flags that cannot be read."""
    try:
        return words.changes(kind, before, after) or [Change("Notation", "", words.NOT_SEEN)]
    except PathError as error:
        return [Change("Document", "", f"cannot be read ({error})")]


def introduced(kind: str, entry: ConfigEntry) -> str:
    """An entry on one line: `boolean, on; everyone: enabled to 25 %; otherwise disabled`."""
    try:
        return "; ".join(words.introduce(kind, entry))
    except PathError as error:
        return f"cannot be read ({error})"
