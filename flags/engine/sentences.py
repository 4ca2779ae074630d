"""Flag documents in words, for staff: rules as sentences, and what a change changes. No Django."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flags.engine.bucketing import weights_of
from flags.engine.document import EVERYBODY, FlagDocument, Prerequisite, Rule
from flags.engine.evaluation import CompiledFlag, Decision, Reason, takes
from flags.engine.schedule import is_scheduled
from ilara_admin.core.percentages import percent
from segments.language.compiler import Subject
from segments.language.parser import parse
from segments.language.sentences import describe


@dataclass(frozen=True, slots=True)
class Difference:
    label: str
    before: str
    after: str


def value_text(value: Any) -> str:
    """A variant's value on one line, as JSON: text in quotes, so that "1" and 1 differ."""
    return json.dumps(value, ensure_ascii=False)


def audience(rule: Rule) -> str:
    """Whom the rule asks for: `beta-testers and level is at least 40`, or `everybody`."""
    parts = []
    if rule.segment is not None:
        parts.append(rule.segment)
    if rule.conditions is not None:
        parts.append(describe(parse(rule.conditions)))
    return " and ".join(parts) or "everybody"


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
    """`1 Dec 2026, 09:00 UTC`; seconds only where there are some."""
    utc = time.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y}, {utc:{'%H:%M:%S' if utc.second else '%H:%M'}} UTC"


def percentage(rule: Rule) -> str:
    """How many the rule takes in, over time: `10 %; 50 % from 1 Dec 2026, 09:00 UTC`."""
    if rule.ramp:
        ramp = rule.ramp
        way = "rising" if ramp.to >= ramp.from_ else "falling"
        text = f"{percent(ramp.from_)} {way} evenly"
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
    """`new-shop gives enabled`."""
    return f"{item.flag} gives {' or '.join(item.variants)}"


def differences(before: FlagDocument, after: FlagDocument) -> list[Difference]:
    """What changes, in the order in which the flag page shows it."""
    found: list[Difference] = []

    def compare(label: str, old: str, new: str) -> None:
        if old != new:
            found.append(Difference(label, old, new))

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
    compare("Only where", _needs(before), _needs(after))
    compare("Order of rules", _order(before, new_rules), _order(after, old_rules))
    compare("Otherwise", before.default, after.default)
    compare("When off", before.off, after.off)
    return found


def metadata_differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """What changes in what a flag says of itself."""
    return [
        Difference(
            label.replace("_", " ").capitalize(), before[label] or "none", after[label] or "none"
        )
        for label in before
        if before[label] != after[label]
    ]


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
    """Why a player gets what they get, in a sentence that can be read out."""
    match decision.reason:
        case Reason.DISABLED:
            return "The flag is archived." if flag.archived else "The flag is off."
        case Reason.PREREQUISITE_FAILED:
            return _why_not(flag, decision)
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
        return f"Rule {index + 1}: its conditions hold{inside}."
    return f"Rule {index + 1}: for everybody{inside}."


def _why_not(flag: CompiledFlag, decision: Decision) -> str:
    for item in flag.document.prerequisites:
        if item.flag == decision.prerequisite:
            return f"It counts as off: it needs that {needs(item)}."
    return "It counts as off: it waits for itself."


def _why_default(flag: CompiledFlag, subject: Subject, at: datetime) -> str:
    """It names the first rule that only its percentage withheld."""
    for index, compiled in enumerate(flag.rules):
        if takes(compiled, subject):
            share = percent(compiled.share_at(at))
            return f"Rule {index + 1} fits, but outside its {share}: the default."
    return "No rule matched, so the default." if flag.rules else "No rules: the default."
