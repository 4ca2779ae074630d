"""How segments lean on each other: what they name is there, no circles, no chain without end.

`asks` gives by key the segments that each rule asks for. Imports no Django.
"""

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from segments.language.parser import RuleError

# A player is asked down a chain by recursion, through rules that may be deep themselves.
MAX_CHAIN = 10

type References = Mapping[str, Collection[str]]


def check_references(key: str, document: Any, asks: References) -> None:
    """Raise RuleError, with the place in the rule, unless all that the rule of the segment `key`
    names is there, and leads neither back to it nor too far. `asks` knows all segments, and `key`
    as it will be."""
    for absent in sorted(set(asks[key]) - set(asks)):
        message = f"There is no segment “{absent}” in this environment."
        raise RuleError(place_of(document, absent), message)
    if circle := circle_in(_reached(key, asks), key):
        path, place = _path(circle), _place_in(document, key, circle)
        raise RuleError(place, f"A segment must not lead back to itself: {path}.")
    chain = longest_chain(key, asks)
    if len(chain) > MAX_CHAIN:
        path, place = _path(chain), _place_in(document, key, chain)
        raise RuleError(place, f"At most {MAX_CHAIN} segments may lean on each other: {path}.")


def circle_in(asks: References, start: str = "") -> list[str] | None:
    """A way from a segment back to itself, both ends named, or None; from `start`, if it is on
    it."""
    try:
        dependencies_first(asks)
    except CycleError as error:
        circle: list[str] = error.args[1][:0:-1]
        place = circle.index(start) if start in circle else 0
        circle = circle[place:] + circle[:place]
        return [*circle, circle[0]]
    return None


def longest_chain(key: str, asks: References) -> list[str]:
    """The longest way through `key` from segment to segment, each asking for the next."""
    askers: dict[str, list[str]] = {}
    for other, asked in asks.items():
        for each in asked:
            askers.setdefault(each, []).append(other)
    return _longest(key, askers)[:0:-1] + _longest(key, asks)


def dependencies_first(asks: References) -> list[str]:
    """All keys, each after those that it asks for, and always in the same order. Raises CycleError
    if there is a circle."""
    return list(TopologicalSorter({key: sorted(asks[key]) for key in sorted(asks)}).static_order())


def place_of(document: Any, key: str, path: str = "") -> str:
    """Where in a rule's document a segment is named."""
    for index, item in enumerate(document["conditions"]):
        place = f"{path}.conditions[{index}]" if path else f"conditions[{index}]"
        if "conditions" in item:
            if found := place_of(item, key, place):
                return found
        elif item.get("field") == "segment" and key in item["value"]:
            return f"{place}.value"
    return ""


def _longest(key: str, asks: References) -> list[str]:
    chains: dict[str, list[str]] = {}
    try:
        for each in dependencies_first(_reached(key, asks)):
            ways = [chains[other] for other in sorted(asks.get(each, ()))]
            chains[each] = [each, *max(ways, key=len, default=[])]
    except CycleError:
        return [key]  # it stands beside a circle, which is not its fault
    return chains[key]


def _reached(key: str, asks: References) -> dict[str, Collection[str]]:
    """The part of `asks` that `key` leads to."""
    found: dict[str, Collection[str]] = {}
    waiting = [key]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = asks.get(each, ())
            waiting += found[each]
    return found


def _place_in(document: Any, key: str, way: list[str]) -> str:
    """Where the rule of `key` goes on along a way; the whole rule, if it is the last on it."""
    following = way[way.index(key) + 1 :] if key in way else way
    return place_of(document, following[0]) if following else ""


def _path(keys: list[str]) -> str:
    return " → ".join(keys)
