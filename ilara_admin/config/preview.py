"""Who switches in an environment when a plan is applied to it."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

import msgspec
from django.utils import timezone

from flags.cache import compile_draft, flags_of, flags_part
from flags.dashboard.impact import impact
from flags.dashboard.impact_figures import Impact
from flags.engine.document import (
    DocumentError,
    check_document,
    decode_document,
    encode_document,
)
from flags.engine.evaluation import CompiledFlag, compile_flag
from ilara_admin.api.environment_cache import Snapshot, at_version
from ilara_admin.config.document import ConfigEntry, document_of
from ilara_admin.config.plan import Plan, PlanAction, PlanStep
from ilara_admin.models import Environment
from segments.cache import SegmentRow, compile_segments, segments_part
from segments.language.parser import RuleError, segments_named
from segments.models import Segment

SECONDS = 3.0


def impacts_of(
    environment: Environment, plan: Plan, salts: Mapping[str, str]
) -> dict[str, Impact | None]:
    """The players who switch, by flag: those that the plan creates or changes, and those that use a
    segment that it changes. None for a flag that cannot be evaluated. A new flag is compared with
    itself while off. Stops after SECONDS, so the last flags may be missing."""
    known = at_version(environment)
    after, aliases = _after(environment, known, plan)
    flags = dict(flags_of(known))
    after = replace(
        after,
        parts={**after.parts, flags_part: replace(flags_part.of(known), by_key=flags)},
    )
    pairs = {}
    for step in plan.steps:
        if step.kind == "flags" and step.entry:
            pairs[step.key] = _pair(after, flags_of(known), step, aliases, salts)
    for key, live in flags_of(known).items():
        if key not in pairs and _uses(live, aliases):
            document = decode_document(renamed(encode_document(live.document), aliases))
            pairs[key] = live, compile_draft(after, live, document, live.archived)
    # Each draft sees the others, for prerequisites.
    flags.update({key: pair[1] for key, pair in pairs.items() if pair})
    now, until = timezone.now(), monotonic() + SECONDS
    found: dict[str, Impact | None] = {}
    for key, pair in pairs.items():
        if monotonic() > until:
            break
        found[key] = impact(after, *pair, now) if pair else None
    return found


def _uses(flag: CompiledFlag, segments: Collection[str]) -> bool:
    return any(
        rule.segment in segments or not segments_named(rule.conditions).isdisjoint(segments)
        for rule in flag.document.rules
    )


def _pair(
    after: Snapshot,
    flags: Mapping[str, CompiledFlag],
    step: PlanStep,
    aliases: Mapping[str, str],
    salts: Mapping[str, str],
) -> tuple[CompiledFlag, CompiledFlag] | None:
    """A flag before and after."""
    assert step.entry
    entry: ConfigEntry = {**step.entry, "rules": renamed(step.entry.get("rules", []), aliases)}
    try:
        document = document_of(entry)
        check_document(document)
        live = flags.get(step.key)
        if live is None and step.action is PlanAction.CREATE:
            live = compile_flag(
                key=step.key,
                salt=salts.get(step.key, ""),
                revision=0,
                document=msgspec.structs.replace(document, enabled=False),
                archived=False,
                segments={},
                segment_rules={},
                others=flags,
            )
        if live is None:
            return None
        return live, compile_draft(after, live, document, entry["archived"])
    except (DocumentError, RuleError):
        return None


def _after(
    environment: Environment, known: Snapshot, plan: Plan
) -> tuple[Snapshot, dict[str, str]]:
    """A snapshot that also has the segments as they will be. A segment that changes, itself or
    through another one, is in it twice: as it is, and under an alias as it will be."""
    rows = {
        key: SegmentRow(pk, key, name, rule)
        for pk, key, name, rule in Segment.objects.filter(environment=environment).values_list(
            "pk", "key", "name", "rule"
        )
    }
    steps = {step.key: step for step in plan.steps if step.kind == "segments" and step.entry}
    if not steps:
        return known, {}
    new = dict(rows)
    for number, (key, step) in enumerate(steps.items(), start=1):
        assert step.entry
        pk = rows[key].id if key in rows else -number  # of no list
        new[key] = SegmentRow(pk, key, step.entry["name"], step.entry["rule"])
    moved = steps.keys() & rows.keys()
    while more := {
        key for key, row in new.items() if key not in moved and segments_named(row.rule) & moved
    }:
        moved |= more
    aliases = {key: f"{key} as copied" for key in moved}  # not a valid key, so it is free
    changed = [
        SegmentRow(row.id, aliases.get(key, key), row.name, renamed(row.rule, aliases))
        for key, row in new.items()
        if key in moved or key not in rows
    ]
    compiled = compile_segments([*rows.values(), *changed], {})
    return replace(known, parts={**known.parts, segments_part: compiled}), aliases


def renamed(rules: Any, names: Mapping[str, str]) -> Any:
    """Rules that name other segments: those of `names` by their new name."""
    if isinstance(rules, list):
        return [renamed(each, names) for each in rules]
    if not isinstance(rules, dict):
        return rules
    found = {
        # `where` is about properties of an event, which may be called segment.
        name: value if name == "where" else renamed(value, names)
        for name, value in rules.items()
    }
    if isinstance(segment := rules.get("segment"), str):
        found["segment"] = names.get(segment, segment)
    if rules.get("field") == "segment" and isinstance(rules.get("value"), list):
        found["value"] = [names.get(key, key) for key in rules["value"]]
    return found
