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


def names_in(*configs: Config) -> list[ConfigKey]:
    """What one of the configurations has: segments, then flags, by key."""
    return [
        ConfigKey(kind, key)
        for kind in KINDS
        for key in sorted({key for config in configs for key in config.entries(kind)})
    ]


def differing(here: Config, there: Config) -> list[ConfigKey]:
    """What is not the same in both configurations."""
    return [
        name
        for name in names_in(here, there)
        if not json_equal(entry_in(here, name), entry_in(there, name))
    ]


def difference(here: Config, there: Config, name: ConfigKey) -> Difference:
    one, other = entry_in(here, name), entry_in(there, name)
    if one is None or other is None:
        texts = (introduced(name.kind, side) if side else "" for side in (one, other))
        return Difference(name, bool(one), bool(other), [Change("All of it", *texts)])
    return Difference(name, True, True, changes(name.kind, one, other))


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
