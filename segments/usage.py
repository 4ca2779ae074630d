"""What uses a segment. Apps that build on segments register a source here."""

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
    """`source` returns, by segment key, the keys of the objects that use it."""
    _sources[kind] = source


def users_of_segments(environment: Environment) -> dict[str, list[SegmentUser]]:
    """All objects that use each segment, by segment key."""
    found: dict[str, list[SegmentUser]] = {}
    for kind, source in _sources.items():
        for segment, keys in source(environment).items():
            found.setdefault(segment, []).extend(SegmentUser(kind, key) for key in keys)
    return found


def named(users: list[SegmentUser]) -> str:
    """`the flag checkout, the segment whales`."""
    return ", ".join(map(str, users))
