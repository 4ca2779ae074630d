"""The plan of an import: ordered steps from the current to the wanted configuration. No Django."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter

from flags.engine import prerequisites
from flags.engine.document import prerequisites_in, variant_keys
from ilara_admin.config import words
from ilara_admin.config.document import (
    KINDS,
    Config,
    ConfigEntries,
    ConfigEntry,
    ConfigError,
    place,
)
from ilara_admin.core.json_equality import json_equal
from ilara_admin.core.path_error import PathError
from segments.language.parser import RuleError, segments_named
from segments.language.references import check_references


class PlanAction(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"  # flags are archived, to keep their history


@dataclass(frozen=True, slots=True)
class PlanStep:
    """`entry` is the wanted entry, or None to remove it; `lines` describe the differences."""

    action: PlanAction
    kind: str
    key: str
    entry: ConfigEntry | None
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """`base` is the configuration the plan was made from. `left` counts the entries that are not in
    the document and stay."""

    base: Config
    steps: list[PlanStep]
    unchanged: int
    left: int

    def count(self, action: PlanAction) -> int:
        return sum(step.action is action for step in self.steps)


def make_plan(current: Config, wanted: Config, *, prune: bool) -> Plan:
    """The steps from `current` to `wanted`; `prune` removes entries that are not wanted. Raises
    ConfigError for missing references and cycles."""
    final = {kind: _final(current, wanted, kind, prune) for kind in KINDS}
    faults = [*_segment_faults(wanted, final), *_flag_faults(wanted, final)]
    if faults:
        raise ConfigError(faults)
    steps: list[PlanStep] = []
    removals: list[PlanStep] = []
    unchanged = left = 0
    for kind in KINDS:
        if kind not in wanted.kinds:
            continue
        there, entries = current.entries(kind), wanted.entries(kind)
        for key in _in_order(kind, final[kind]):
            if key not in entries:
                continue
            if key not in there:
                lines = words.introduce(kind, entries[key])
                steps.append(PlanStep(PlanAction.CREATE, kind, key, entries[key], lines))
            elif not json_equal(there[key], entries[key]):
                lines = words.differences(kind, there[key], entries[key])
                steps.append(PlanStep(PlanAction.CHANGE, kind, key, entries[key], lines))
            else:
                unchanged += 1
        for key in reversed(_in_order(kind, there)):
            if key in entries or there[key].get("archived"):
                continue
            if prune:
                removals.append(PlanStep(PlanAction.REMOVE, kind, key, None, []))
            else:
                left += 1
    # Remove flags before the segments they use.
    removals.sort(key=lambda step: step.kind)
    base = Config({kind: current.entries(kind) for kind in wanted.kinds})
    return Plan(base, steps + removals, unchanged, left)


def _final(current: Config, wanted: Config, kind: str, prune: bool) -> ConfigEntries:
    """All entries after the import."""
    there = current.entries(kind)
    if prune and kind in wanted.kinds:
        # Removed flags are only archived and can be unarchived, so they still count.
        there = there if kind == "flags" else {}
    return {**there, **wanted.entries(kind)}


def _in_order(kind: str, entries: ConfigEntries) -> list[str]:
    """Dependencies first, so that each step finds its references in their final state, and no cycle
    exists in between."""
    dependencies = {
        key: sorted(_dependencies(kind, entry) & entries.keys())
        for key, entry in sorted(entries.items())
    }
    try:
        return list(TopologicalSorter(dependencies).static_order())
    except CycleError:
        return sorted(entries)  # only possible with stored data that the services would refuse


def _dependencies(kind: str, entry: ConfigEntry) -> set[str]:
    if kind == "segments":
        return segments_named(entry["rule"])
    return {item.flag for item in prerequisites_in(entry)}


def references_of(entry: ConfigEntry) -> dict[str, set[str]]:
    """The keys of the segments and flags that an entry names, by kind."""
    segments = {key for _, key in _segments_of_flag(entry)}
    if "rule" in entry:
        segments |= segments_named(entry["rule"])
    return {"segments": segments, "flags": {item.flag for item in prerequisites_in(entry)}}


# --- Faults -------------------------------------------------------------------------------------


def _segment_faults(wanted: Config, final: Mapping[str, ConfigEntries]) -> Iterator[PathError]:
    references = {key: segments_named(entry["rule"]) for key, entry in final["segments"].items()}
    for key, entry in wanted.entries("segments").items():
        try:
            check_references(key, entry["rule"], references)
        except RuleError as error:
            yield error.below(place("segments", key, "rule"))


def _flag_faults(wanted: Config, final: Mapping[str, ConfigEntries]) -> Iterator[PathError]:
    needs = {
        key: [item.flag for item in prerequisites_in(entry)]
        for key, entry in final["flags"].items()
    }
    entries = wanted.entries("flags")
    for key, entry in final["flags"].items():
        for path, segment in _segments_of_flag(entry):
            if segment not in final["segments"]:
                message = f"There is no segment “{segment}” in this environment."
                if key not in entries:
                    message = f"The segment “{segment}” would be removed but is used here."
                yield PathError(place("flags", key, path), message)
    for key, entry in entries.items():
        for index, item in enumerate(prerequisites_in(entry)):
            path = place("flags", key, f"prerequisites[{index}]")
            other = final["flags"].get(item.flag)
            if other is None:
                message = f"There is no flag “{item.flag}” in this environment."
                yield PathError(path, message)
                continue
            for name in sorted(set(item.variants) - variant_keys(other)):
                yield PathError(path, f"The flag “{item.flag}” has no variant “{name}”.")
        if problem := prerequisites.problem(key, needs):
            yield PathError(place("flags", key, "prerequisites"), problem)


def _segments_of_flag(entry: ConfigEntry) -> Iterator[tuple[str, str]]:
    """Each segment that a flag uses, with its path, as far as it can be read."""
    rules = entry.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            continue
        if rule.get("segment"):
            yield f"rules[{index}].segment", rule["segment"]
        for key in sorted(segments_named(rule.get("conditions"))):
            yield f"rules[{index}].conditions", key
