"""Checks of prerequisite chains: no cycles, limited length. Imports no Django."""

from collections.abc import Mapping, Sequence

MAX_CHAIN = 16


def longest_chain(key: str, needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The longest chain of prerequisites, starting with `key`. A cycle, a chain that ends with
    `key`, comes before longer chains. `needs` are the prerequisites of each flag."""
    known: dict[str, list[str]] = {}

    def walk(name: str) -> list[str]:
        if name not in known:
            known[name] = [name]  # a cycle without `key` is not reported for this flag
            known[name] = [name, *best(name)]
        return known[name]

    def best(name: str) -> list[str]:
        chains = [[key] if other == key else walk(other) for other in needs.get(name, ())]
        return max(chains, key=lambda chain: (chain[-1] == key, len(chain)), default=[])

    return [key, *best(key)]


def problem(key: str, needs: Mapping[str, Sequence[str]]) -> str | None:
    """An error message with the path, or None if the chain is valid."""
    chain = longest_chain(key, needs)
    path = " \N{RIGHTWARDS ARROW} ".join(chain)
    if len(chain) > 1 and chain[-1] == key:
        return f"The prerequisites form a cycle: {path}."
    if len(chain) > MAX_CHAIN:
        return f"A chain of prerequisites has {MAX_CHAIN} flags at most: {path}."
    return None
