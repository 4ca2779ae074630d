"""Texts about flags for staff: rules, differences, reasons of decisions. Imports no Django."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from flags.engine.bucketing import weights_of
from flags.engine.document import EVERYBODY, FlagDocument, Prerequisite, Rule, Slice, Variant
from flags.engine.evaluation import CompiledFlag, Decision, Reason, takes
from flags.engine.schedule import is_scheduled
from ilara_admin.core.diff import Change, Path
from ilara_admin.core.percentages import percent
from segments.language.compiler import Subject
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe


def value_text(value: Any) -> str:
    """A variant's value on one line, as JSON: text in quotes, so that "1" and 1 differ."""
    return json.dumps(value, ensure_ascii=False)


def audience(rule: Rule) -> str:
    """The audience of a rule: `beta-testers and level is at least 40`, or `everyone`."""
    parts = []
    if rule.segment is not None:
        parts.append(rule.segment)
    if rule.conditions is not None:
        parts.append(describe(parse(rule.conditions)))
    return " and ".join(parts) or "everyone"


def serves(rule: Rule) -> str:
    """What the rule serves: `enabled`, or `control 50 %, short 50 %`."""
    if rule.split is None:
        return str(rule.variant)
    return ", ".join(
        f"{variant} {percent(weight)}" for variant, weight in weights_of(rule.split).items()
    )


def sentence(rule: Rule) -> str:
    """`beta-testers: enabled to 25 %`."""
    share = ""
    if is_scheduled(rule):
        share = f", {percentage(rule)}"
    elif rule.rollout != EVERYBODY:
        share = f" to {percent(rule.rollout)}"
    return f"{audience(rule)}: {serves(rule)}{share}"


def moment(time: datetime) -> str:
    """`1 Dec 2026, 09:00 UTC`; seconds only if not 0."""
    utc = time.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y}, {utc:{'%H:%M:%S' if utc.second else '%H:%M'}} UTC"


def percentage(rule: Rule) -> str:
    """The percentage over time: `10 %; 50 % from 1 Dec 2026, 09:00 UTC`."""
    if rule.ramp:
        ramp = rule.ramp
        direction = "rising" if ramp.to >= ramp.from_ else "falling"
        text = f"{percent(ramp.from_)} {direction} evenly"
        text += f" to {percent(ramp.to)} between {moment(ramp.start)} and {moment(ramp.end)}"
    else:
        text = "; ".join(
            [
                percent(rule.rollout),
                *(f"{percent(step.rollout)} from {moment(step.at)}" for step in rule.steps),
            ]
        )
    if rule.start:
        text += f"; not before {moment(rule.start)}"
    if rule.end:
        text += f"; until {moment(rule.end)}"
    return text


def needs(item: Prerequisite) -> str:
    """`new-shop serves enabled`."""
    return f"{item.flag} serves {' or '.join(item.variants)}"


def differences(before: FlagDocument, after: FlagDocument) -> list[Change]:
    """The differences, in the order of the flag page."""
    found: list[Change] = []

    def compare(label: str, old: str, new: str) -> None:
        if old != new:
            found.append(Change(label, old, new))

    compare("State", _state(before), _state(after))
    old_variants = {variant.key: variant for variant in before.variants}
    new_variants = {variant.key: variant for variant in after.variants}
    for key in {**old_variants, **new_variants}:
        old, new = old_variants.get(key), new_variants.get(key)
        compare(
            f"Variant {key}",
            value_text(old.value) if old else "none",
            value_text(new.value) if new else "none",
        )
        if old and new:
            compare(f"Name of {key}", old.name or "none", new.name or "none")
    old_rules = {rule.id: rule for rule in before.rules}
    new_rules = {rule.id: rule for rule in after.rules}
    for rule_id in {**old_rules, **new_rules}:
        old_rule, new_rule = old_rules.get(rule_id), new_rules.get(rule_id)
        _compare_rules(compare, _place(after, before, rule_id), old_rule, new_rule)
    compare("Only if", _needs(before), _needs(after))
    compare("Order of rules", _order(before, new_rules), _order(after, old_rules))
    compare("Otherwise", before.default, after.default)
    compare("When off", before.off, after.off)
    return found


def metadata_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """The differences between the metadata of two flags."""
    return [
        Change(
            label.replace("_", " ").capitalize(), before[label] or "none", after[label] or "none"
        )
        for label in before
        if before[label] != after[label]
    ]


def part_text(path: Path, value: Any) -> str | None:
    """The text of a part of a stored document, for core/diff.py."""
    inside, name = ("", "", *path)[-2:]
    try:
        if name == "rollout":
            return percent(msgspec.convert(value, int))
        if name == "split":
            weights = weights_of(msgspec.convert(value, tuple[Slice, ...]))
            return ", ".join(f"{variant} {percent(weight)}" for variant, weight in weights.items())
        if inside == "rules":
            return sentence(msgspec.convert(value, Rule))
        if inside == "variants":
            return value_text(msgspec.convert(value, Variant).value)
    except (msgspec.ValidationError, RuleError):
        pass  # another kind of part that has the same name
    return None


def _compare_rules(compare: Any, label: str, old: Rule | None, new: Rule | None) -> None:
    if old is None or new is None:
        compare(label, sentence(old) if old else "none", sentence(new) if new else "none")
        return
    compare(f"{label}, name", old.name or "none", new.name or "none")
    compare(f"{label}, who", audience(old), audience(new))
    compare(f"{label}, serves", serves(old), serves(new))
    compare(f"{label}, percentage", percentage(old), percentage(new))


def _needs(document: FlagDocument) -> str:
    return ", ".join(needs(item) for item in document.prerequisites) or "always"


def _state(document: FlagDocument) -> str:
    return "on" if document.enabled else "off"


def _place(after: FlagDocument, before: FlagDocument, rule_id: str) -> str:
    for document, note in ((after, ""), (before, " (removed)")):
        ids = [rule.id for rule in document.rules]
        if rule_id in ids:
            return f"Rule {ids.index(rule_id) + 1}{note}"
    return "Rule"


def _order(document: FlagDocument, shared: Any) -> str:
    return ", ".join(audience(rule) for rule in document.rules if rule.id in shared)


def why(flag: CompiledFlag, decision: Decision, subject: Subject, at: datetime) -> str:
    """The reason of a decision as a sentence."""
    match decision.reason:
        case Reason.DISABLED:
            return "The flag is archived." if flag.archived else "The flag is off."
        case Reason.PREREQUISITE_FAILED:
            return _why_prerequisite(flag, decision)
        case Reason.OVERRIDE:
            return "Set for this player."
        case Reason.DEFAULT:
            return _why_default(flag, subject, at)
    index = decision.rule_index or 0
    share = flag.rules[index].share_at(at)
    inside = "" if share == EVERYBODY else f", inside its {percent(share)}"
    if decision.reason is Reason.SEGMENT_MATCH:
        return f"Rule {index + 1}: in segment {decision.segment_id}{inside}."
    if decision.reason is Reason.RULE_MATCH:
        return f"Rule {index + 1}: conditions match{inside}."
    return f"Rule {index + 1}: everyone{inside}."


def _why_prerequisite(flag: CompiledFlag, decision: Decision) -> str:
    for item in flag.document.prerequisites:
        if item.flag == decision.prerequisite:
            return f"Off for this player: only if {needs(item)}."
    return "Off: the flag requires itself."


def _why_default(flag: CompiledFlag, subject: Subject, at: datetime) -> str:
    """Names the first rule that matches except for its percentage."""
    for index, compiled in enumerate(flag.rules):
        if takes(compiled, subject):
            share = percent(compiled.share_at(at))
            return f"Rule {index + 1} matches, but the player is outside its {share}: the default."
    return "No rule matched: the default." if flag.rules else "No rules: the default."
