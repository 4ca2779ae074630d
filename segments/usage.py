"""What uses a segment. Apps that build on segments register a source here."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from ilara_admin.models import Environment


class SegmentUser(NamedTuple):
    """`kind` is `flag`, `segment` or `experiment`."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.key}"


type Source = Callable[[Environment, Collection[str]], Mapping[str, list[str]]]

_sources: dict[str, Source] = {}


def register(kind: str, source: Source) -> None:
    """`source` returns, for some segments by key, the keys of the objects that use each."""
    _sources[kind] = source


def users_of_segments(
    environment: Environment, segments: Collection[str]
) -> dict[str, list[SegmentUser]]:
    """The objects that use each of these segments, by segment key."""
    found: dict[str, list[SegmentUser]] = {key: [] for key in segments}
    if segments:
        for kind, source in _sources.items():
            for segment, keys in source(environment, segments).items():
                found[segment].extend(SegmentUser(kind, key) for key in keys)
    return found


def users_of(environment: Environment, segment: str) -> list[SegmentUser]:
    return users_of_segments(environment, [segment])[segment]


def named(users: list[SegmentUser]) -> str:
    """`the flag checkout, the segment whales`."""
    return ", ".join(map(str, users))
