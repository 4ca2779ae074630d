"""The flags that depend on another one through their prerequisites. Imports no Django."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from flags.engine.document import Prerequisite
from flags.engine.evaluation import CompiledFlag


class Dependent(NamedTuple):
    """A flag that depends on another. `path` are the flags in between, nearest to it first; it is
    empty for a flag that names the other one itself, by `item`."""

    flag: CompiledFlag
    item: Prerequisite
    path: tuple[str, ...]


def dependents_of(key: str, flags: Mapping[str, CompiledFlag]) -> list[Dependent]:
    """The flags in use that depend on a flag, nearest first. An archived flag serves its off value
    whatever the others do, so nothing depends through it."""
    found: dict[str, Dependent] = {}
    reached: list[tuple[str, tuple[str, ...]]] = [(key, ())]
    while reached:
        following: list[tuple[str, tuple[str, ...]]] = []
        for needed, path in reached:
            for flag in flags.values():
                if flag.archived or flag.key == key or flag.key in found:
                    continue
                for item in flag.document.prerequisites:
                    if item.flag == needed:
                        found[flag.key] = Dependent(flag, item, path)
                        following.append((flag.key, (flag.key, *path)))
                        break
        reached = following
    return list(found.values())


def with_draft(draft: CompiledFlag, flags: Mapping[str, CompiledFlag]) -> dict[str, CompiledFlag]:
    """All flags as they are once the draft is saved."""
    after = {**flags, draft.key: draft}
    for dependent in dependents_of(draft.key, flags):
        after[dependent.flag.key] = replace(dependent.flag, others=after)
    return after


def never_holds(flag: CompiledFlag, others: Mapping[str, CompiledFlag]) -> bool:
    """Whether the prerequisites of a flag hold for no player, so that all get its off value."""
    return _never_holds(flag, others, {})


def _never_holds(
    flag: CompiledFlag, others: Mapping[str, CompiledFlag], served: dict[str, set[str]]
) -> bool:
    return any(
        item.flag not in others
        or not _served(others[item.flag], others, served) & set(item.variants)
        for item in flag.document.prerequisites
    )


def _served(
    flag: CompiledFlag, others: Mapping[str, CompiledFlag], served: dict[str, set[str]]
) -> set[str]:
    """The variants that a flag may serve. One that requires itself, as in a draft, is off. `served`
    caches by key."""
    if flag.key not in served:
        served[flag.key] = {flag.document.off}  # ends a cycle
        if flag.is_on and not _never_holds(flag, others, served):
            # All variants, to players with an override, whatever the rules.
            served[flag.key] = set(flag.variants)
    return served[flag.key]
