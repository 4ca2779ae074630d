"""Paths into JSON objects, as rules write them: `stats.wins`. Imports no Django.

A dot separates keys. `\\.` is a dot inside a key and `\\\\` a backslash; before any other character
a backslash stands for itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_key = re.compile(r"(?:\\[.\\]|[^.])*").match
_ESCAPED = re.compile(r"\\([.\\])")
_TO_ESCAPE = re.compile(r"[.\\]")


def split_path(text: str) -> list[str]:
    """The keys of a path."""
    keys, start = [], 0
    while start <= len(text):
        found = _key(text, start)
        assert found, "the expression matches any text"
        keys.append(_ESCAPED.sub(r"\1", found[0]))
        start = found.end() + 1
    return keys


def join_path(keys: Iterable[str]) -> str:
    """The path to a value: the inverse of split_path."""
    return ".".join(_TO_ESCAPE.sub(r"\\\g<0>", key) for key in keys)


def values_in(value: Any, levels: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values in an object that are not objects themselves, each with the keys that lead to it.
    Objects deeper than `levels` are values, as are empty ones."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and levels > 1:
            for rest, found in values_in(inner, levels - 1):
                yield (key, *rest), found
        else:
            yield (key,), inner


def other_path(value: Any, keys: Sequence[str]) -> list[str] | None:
    """The keys of a value whose path differs only in which dots separate keys, or None."""
    return _find(value, ".".join(keys).split("."))


def _find(value: Any, parts: list[str]) -> list[str] | None:
    if not parts:
        return []
    if isinstance(value, Mapping):
        for count in range(1, len(parts) + 1):
            key = ".".join(parts[:count])
            if key in value and (rest := _find(value[key], parts[count:])) is not None:
                return [key, *rest]
    return None
