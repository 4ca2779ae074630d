"""References between segments: they must exist, without cycles and without overlong chains.

`references` maps each segment's key to the keys its rule refers to. Imports no Django.
"""

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from segments.language.parser import RuleError

# Evaluation recurses down a chain, through rules that may be deeply nested themselves.
MAX_CHAIN = 10

type References = Mapping[str, Collection[str]]


def check_references(key: str, document: Any, references: References) -> None:
    """Check the references of the rule `document` of the segment `key`. Raises RuleError with the
    place in the rule if a segment does not exist, or if a reference closes a cycle or makes a chain
    longer than MAX_CHAIN. `references` covers all segments, with `key` as it will be saved."""
    for absent in sorted(set(references[key]) - set(references)):
        message = f"There is no segment “{absent}” in this environment."
        raise RuleError(place_of(document, absent), message)
    if cycle := circle_in(_reached(key, references), key):
        path, place = _path(cycle), _place_in(document, key, cycle)
        raise RuleError(place, f"A segment must not refer to itself: {path}.")
    chain = longest_chain(key, references)
    if len(chain) > MAX_CHAIN:
        path, place = _path(chain), _place_in(document, key, chain)
        raise RuleError(place, f"At most {MAX_CHAIN} segments may form a chain: {path}.")


def circle_in(references: References, start: str = "") -> list[str] | None:
    """A cycle as a list whose first and last key are the same, or None. It begins at `start` if
    that is part of it."""
    try:
        dependencies_first(references)
    except CycleError as error:
        cycle: list[str] = error.args[1][:0:-1]
        place = cycle.index(start) if start in cycle else 0
        cycle = cycle[place:] + cycle[:place]
        return [*cycle, cycle[0]]
    return None


def longest_chain(key: str, references: References) -> list[str]:
    """The longest chain of references through `key`."""
    referrers: dict[str, list[str]] = {}
    for other, targets in references.items():
        for each in targets:
            referrers.setdefault(each, []).append(other)
    return _longest(key, referrers)[:0:-1] + _longest(key, references)


def dependencies_first(references: References) -> list[str]:
    """All keys, each after those it refers to, in a stable order. Raises CycleError on a cycle."""
    graph = {key: sorted(references[key]) for key in sorted(references)}
    return list(TopologicalSorter(graph).static_order())


def place_of(document: Any, key: str, path: str = "") -> str:
    """The path in a rule's document at which a segment is named."""
    for index, item in enumerate(document["conditions"]):
        place = f"{path}.conditions[{index}]" if path else f"conditions[{index}]"
        if "conditions" in item:
            if found := place_of(item, key, place):
                return found
        elif item.get("field") == "segment" and key in item["value"]:
            return f"{place}.value"
    return ""


def _longest(key: str, references: References) -> list[str]:
    chains: dict[str, list[str]] = {}
    try:
        for each in dependencies_first(_reached(key, references)):
            chains_on = [chains[other] for other in sorted(references.get(each, ()))]
            chains[each] = [each, *max(chains_on, key=len, default=[])]
    except CycleError:
        return [key]  # leads into a cycle that does not contain it
    return chains[key]


def _reached(key: str, references: References) -> dict[str, Collection[str]]:
    """The part of `references` reachable from `key`."""
    found: dict[str, Collection[str]] = {}
    waiting = [key]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = references.get(each, ())
            waiting += found[each]
    return found


def _place_in(document: Any, key: str, chain: list[str]) -> str:
    """The path in the rule of `key` that names the next key of `chain`; "" for the last key."""
    following = chain[chain.index(key) + 1 :] if key in chain else chain
    return place_of(document, following[0]) if following else ""


def _path(keys: list[str]) -> str:
    return " → ".join(keys)
