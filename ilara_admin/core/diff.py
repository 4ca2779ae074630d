"""The differences between two JSON documents as text. Imports no Django."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

type Path = tuple[str, ...]
type Describe = Callable[[Path, Any, datetime], str | None]
type Compare = Callable[[dict[str, Any], dict[str, Any], datetime], list["Change"]]

_describers: list[Describe] = []
_comparers: dict[str, Compare] = {}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. A side without a value is ""."""

    label: str
    before: str
    after: str


def register_text(describe: Describe) -> None:
    """`describe` returns the text of the value at a path, or None for values of other apps. For the
    time that it gets see `differences`."""
    if describe not in _describers:
        _describers.append(describe)


def register_differences(object_type: str, compare: Compare) -> None:
    """`compare` returns the differences between fields of objects of this type, in the words of
    their page."""
    _comparers[object_type] = compare


def has_words(object_type: str) -> bool:
    """Whether labels of changes are in the words of a page, not names of fields."""
    return object_type in _comparers


def differences(
    before: Any, after: Any, object_type: str = "", *, at: datetime | None = None
) -> list[Change]:
    """The differences between two documents: in the words of the page of `object_type`, else by
    leaf, with labels like `rules.beta.rollout`.

    `at` is the time for which texts describe what depends on it, in the reader's time zone; by
    default now, in UTC. A side without a value is ""; an empty string is “”. Excludes fields like
    `_id`, which only undo uses.
    """
    before, after, at = _shown(before), _shown(after), at or datetime.now(UTC)
    if object_type in _comparers and isinstance(before, dict) and isinstance(after, dict):
        return _comparers[object_type](before, after, at)
    return list(_walk((), before, after, at))


def _shown(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if not name.startswith("_")}


def _walk(path: Path, before: Any, after: Any, at: datetime) -> Iterator[Change]:
    left, right = _named(before), _named(after)
    # A list that is added or removed is shown by item, any other part as a whole.
    left = {} if left is None and before is None and isinstance(after, list) else left
    right = {} if right is None and after is None and isinstance(before, list) else right
    if left is None or right is None:
        if type(before) is not type(after) or before != after:
            yield Change(".".join(path), _text(path, before, at), _text(path, after, at))
        return
    for name in {**left, **right}:
        yield from _walk((*path, name), left.get(name), right.get(name), at)
    order = [
        [name for name in one if name in other] for one, other in ((left, right), (right, left))
    ]
    if order[0] != order[1] and isinstance(before, list):
        yield Change(f"{'.'.join(path)}, order", *(", ".join(names) for names in order))


def _named(value: Any) -> dict[str, Any] | None:
    """The parts of a value by name: of an object, or of a list whose items have ids or keys."""
    if isinstance(value, dict):
        return None if value.keys() == {"operator", "conditions"} else value
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        for name in ("id", "key"):
            names = [item.get(name) for item in value]
            if all(isinstance(each, str) for each in names) and len(set(names)) == len(names):
                return dict(zip(names, value, strict=True))
    return None


def _text(path: Path, value: Any, at: datetime) -> str:
    if value is None:
        return ""
    # Quotes where "1" and 1 are both possible.
    quoted = path[-1:] == ("value",) or (path and path[0].startswith("attributes"))
    if isinstance(value, str) and not quoted:
        return value or "“”"
    for describe in _describers:
        if (text := describe(path, value, at)) is not None:
            return text
    return json.dumps(value, ensure_ascii=False)
