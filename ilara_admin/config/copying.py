"""The copy of flags and segments from one environment to another. No Django.

A copy imports a few entries of the other environment: plan.py plans it, store.py applies it. This
module chooses the entries: those to copy, and those that they need.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ilara_admin.config import words
from ilara_admin.config.comparison import ConfigKey, entry_in
from ilara_admin.config.document import KINDS, Config, ConfigEntry
from ilara_admin.config.plan import references_of
from ilara_admin.core.json_equality import json_equal


@dataclass(frozen=True, slots=True)
class CopyChoice:
    """What to copy: `names`, and of what they need, `along` and all that the target lacks except
    `declined`. `with_state` copies whether a flag is on and archived; else it keeps its own state,
    and a new flag is off."""

    names: tuple[ConfigKey, ...]
    along: frozenset[ConfigKey] = frozenset()
    declined: frozenset[ConfigKey] = frozenset()
    with_state: bool = False


@dataclass(frozen=True, slots=True)
class Needed:
    """A flag or a segment that a copied one names, and that the target lacks or has otherwise.
    `is_taken` if it is copied along; `lines` describe it, or how the one there would change."""

    name: ConfigKey
    is_missing: bool
    is_taken: bool
    lines: list[str]


def needed_for(choice: CopyChoice, source: Config, target: Config) -> list[Needed]:
    """What the copied flags and segments need, also indirectly, if the target lacks it or has it
    otherwise. Flags that exist in the target are left out: they differ by design, and the plan
    refuses one without a needed variant."""
    found: dict[ConfigKey, Needed] = {}
    waiting = list(choice.names)
    while waiting:
        for name in _named_by(entry_in(source, waiting.pop(0))):
            here, there = entry_in(source, name), entry_in(target, name)
            if name in found or name in choice.names or here is None:
                continue
            if there is None:
                taken, lines = name not in choice.declined, words.introduce(name.kind, here)
            elif name.kind == "segments" and not json_equal(here, there):
                taken, lines = name in choice.along, words.differences(name.kind, there, here)
            else:
                continue
            found[name] = Needed(name, there is None, taken, lines)
            if taken:
                waiting.append(name)
    return sorted(found.values(), key=lambda each: (not each.is_missing, each.name))


def _named_by(entry: ConfigEntry | None) -> Iterator[ConfigKey]:
    for kind, keys in references_of(entry or {}).items():
        yield from (ConfigKey(kind, key) for key in sorted(keys))


def wanted_in(
    target: Config, source: Config, choice: CopyChoice, needed: Collection[Needed]
) -> Config:
    """The entries to import into the target."""
    kinds: dict[str, dict[str, ConfigEntry]] = {kind: {} for kind in KINDS}
    for name in (*choice.names, *(each.name for each in needed if each.is_taken)):
        if (entry := entry_in(source, name)) is None:
            continue
        if name.kind == "flags":
            there = entry_in(target, name)
            entry = with_groups_of(there, entry)
            if not choice.with_state:
                entry = {**entry, **_state_of(there)}
        kinds[name.kind][name.key] = entry
    return Config(kinds)


def with_groups_of(target: ConfigEntry | None, flag: ConfigEntry) -> ConfigEntry:
    """The flag with the groups of the target's rules: each environment has its experiments."""
    limits = {rule.get("id"): rule["group"] for rule in _rules(target) if "group" in rule}
    rules = [
        {
            **{name: part for name, part in rule.items() if name != "group"},
            **({"group": limits[rule.get("id")]} if rule.get("id") in limits else {}),
        }
        for rule in _rules(flag)
    ]
    return {**flag, "rules": rules} if rules else flag


def _rules(flag: ConfigEntry | None) -> list[dict[str, Any]]:
    """None of a flag whose rules cannot be read."""
    rules = (flag or {}).get("rules")
    is_readable = isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules)
    return rules if is_readable and rules else []


def _state_of(flag: ConfigEntry | None) -> ConfigEntry:
    if flag is None:
        return {"enabled": False, "archived": False}
    return {"enabled": flag.get("enabled", False), "archived": flag["archived"]}
