"""How flags lean on each other: no circles, and no chain without end. Imports no Django."""

from collections.abc import Mapping, Sequence

MAX_CHAIN = 16


def longest_chain(key: str, needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The flags that `key` waits for, one after the other, `key` first. A chain that leads back to
    `key` ends with it and goes before all others: it is a circle."""
    known: dict[str, list[str]] = {}

    def walk(name: str) -> list[str]:
        if name not in known:
            known[name] = [name]  # a circle that leaves `key` out is not this flag's fault
            known[name] = [name, *best(name)]
        return known[name]

    def best(name: str) -> list[str]:
        chains = [[key] if other == key else walk(other) for other in needs.get(name, ())]
        return max(chains, key=lambda chain: (chain[-1] == key, len(chain)), default=[])

    return [key, *best(key)]


def problem(key: str, needs: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with what the flag waits for, told with the path."""
    chain = longest_chain(key, needs)
    path = " \N{RIGHTWARDS ARROW} ".join(chain)
    if len(chain) > 1 and chain[-1] == key:
        return f"The prerequisites go in a circle: {path}."
    if len(chain) > MAX_CHAIN:
        return f"Prerequisites may chain {MAX_CHAIN} flags at most: {path}."
    return None
