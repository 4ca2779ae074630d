"""Who uses a segment. Apps that build on segments register how to find out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ilara_admin.models import Environment


class SegmentUser(NamedTuple):
    """`kind` is `flag` or `segment`."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.key}"


type Source = Callable[[Environment], Mapping[str, list[str]]]

_sources: dict[str, Source] = {}


def register(kind: str, source: Source) -> None:
    """`source` gives, by segment key, the keys of what uses it."""
    _sources[kind] = source


def users_of_segments(environment: Environment) -> dict[str, list[SegmentUser]]:
    """By segment key, everything that uses it."""
    found: dict[str, list[SegmentUser]] = {}
    for kind, source in _sources.items():
        for segment, keys in source(environment).items():
            found.setdefault(segment, []).extend(SegmentUser(kind, key) for key in keys)
    return found


def named(users: list[SegmentUser]) -> str:
    """`the flag checkout, the segment whales`."""
    return ", ".join(map(str, users))
