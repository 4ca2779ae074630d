"""Texts about flags for staff: rules, differences, reasons of decisions. Imports no Django."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from flags.engine.bucketing import weights_of
from flags.engine.document import EVERYBODY, FlagDocument, Prerequisite, Rule, Slice, Variant
from flags.engine.evaluation import CompiledFlag, Decision, Reason, takes
from flags.engine.schedule import is_scheduled
from ilara_admin.core import diff
from ilara_admin.core.diff import Change, Path
from ilara_admin.core.percentages import percent
from segments.language.compiler import Subject
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe

SHOWN_OVERRIDES = 20


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
    return [
        *_changed("State", _state(before.enabled), _state(after.enabled)),
        *_variant_changes(before.variants, after.variants),
        *_rule_changes(before.rules, after.rules),
        *_changed("Only if", _needs(before.prerequisites), _needs(after.prerequisites)),
        *_changed("Otherwise", before.default, after.default),
        *_changed("When off", before.off, after.off),
    ]


def field_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Like `differences`, between some fields of a flag as the audit log stores them, such as its
    details. A field that cannot be read is compared as JSON."""
    found: list[Change] = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        try:
            found += _field_changes(name, old, new)
        except (msgspec.ValidationError, RuleError):
            found += diff.differences({name: old}, {name: new})
    return found


def _field_changes(name: str, before: Any, after: Any) -> list[Change]:
    """The change of one field; None on a side without it."""
    if name == "variants":
        old, new = _read(before, tuple[Variant, ...]), _read(after, tuple[Variant, ...])
        return _variant_changes(old or (), new or ())
    if name == "rules":
        return _rule_changes(
            _read(before, tuple[Rule, ...]) or (), _read(after, tuple[Rule, ...]) or ()
        )
    if name not in _FIELDS:
        return diff.differences({name: before}, {name: after})
    label, kind, text = _FIELDS[name]
    texts = ["" if side is None else text(msgspec.convert(side, kind)) for side in (before, after)]
    return _changed(label, *texts)


def _read[T](value: Any, kind: type[T]) -> T | None:
    return None if value is None else msgspec.convert(value, kind)


def _changed(label: str, before: str, after: str) -> list[Change]:
    return [Change(label, before, after)] if before != after else []


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


def _variant_changes(before: Sequence[Variant], after: Sequence[Variant]) -> list[Change]:
    found: list[Change] = []
    old_variants = {variant.key: variant for variant in before}
    new_variants = {variant.key: variant for variant in after}
    for key in {**old_variants, **new_variants}:
        old, new = old_variants.get(key), new_variants.get(key)
        texts = [value_text(each.value) if each else "none" for each in (old, new)]
        found += _changed(f"Variant {key}", *texts)
        if old and new:
            found += _changed(f"Name of {key}", old.name or "none", new.name or "none")
    return found


def _rule_changes(before: Sequence[Rule], after: Sequence[Rule]) -> list[Change]:
    found: list[Change] = []
    old_rules = {rule.id: rule for rule in before}
    new_rules = {rule.id: rule for rule in after}
    for rule_id in {**old_rules, **new_rules}:
        label = _place(before, after, rule_id)
        old, new = old_rules.get(rule_id), new_rules.get(rule_id)
        if old is None or new is None:
            found += _changed(label, *(sentence(each) if each else "none" for each in (old, new)))
            continue
        found += _changed(f"{label}, name", old.name or "none", new.name or "none")
        found += _changed(f"{label}, who", audience(old), audience(new))
        found += _changed(f"{label}, serves", serves(old), serves(new))
        found += _changed(f"{label}, percentage", percentage(old), percentage(new))
    return found + _order_changes(before, after)


def _place(before: Sequence[Rule], after: Sequence[Rule], rule_id: str) -> str:
    for rules, note in ((after, ""), (before, " (removed)")):
        ids = [rule.id for rule in rules]
        if rule_id in ids:
            return f"Rule {ids.index(rule_id) + 1}{note}"
    return "Rule"


def _order_changes(before: Sequence[Rule], after: Sequence[Rule]) -> list[Change]:
    """The order of the rules that both sides have, if it differs."""
    shared = {rule.id for rule in before} & {rule.id for rule in after}
    old, new = ([rule for rule in side if rule.id in shared] for side in (before, after))
    if [rule.id for rule in old] == [rule.id for rule in new]:
        return []
    for text in (audience, sentence):
        texts = [", ".join(map(text, rules)) for rules in (old, new)]
        if texts[0] != texts[1]:
            return [Change("Order of rules", *texts)]
    places = {rule.id: f"rule {number}" for number, rule in enumerate(before, start=1)}
    texts = [", ".join(places[rule.id] for rule in rules) for rules in (old, new)]
    return [Change("Order of rules", *texts)]


def _needs(prerequisites: Sequence[Prerequisite]) -> str:
    return ", ".join(map(needs, prerequisites)) or "always"


def _state(enabled: bool) -> str:
    return "on" if enabled else "off"


def _text(text: str) -> str:
    return text or "none"


def _links(links: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{link['label']} {link['url']}" for link in links) or "none"


def _overrides(overrides: Sequence[Mapping[str, Any]] | int) -> str:
    """`a: enabled, b: disabled`; the number of many."""
    if isinstance(overrides, int) or len(overrides) > SHOWN_OVERRIDES:
        number = overrides if isinstance(overrides, int) else len(overrides)
        return f"{number:,} players"
    return ", ".join(f"{each['player']}: {each['variant']}" for each in overrides) or "none"


# The label, type and text of the other fields of a flag.
_FIELDS: Mapping[str, tuple[str, Any, Callable[[Any], str]]] = {
    "value_type": ("Value", str, str),
    "enabled": ("State", bool, _state),
    "prerequisites": ("Only if", tuple[Prerequisite, ...], _needs),
    "default": ("Otherwise", str, str),
    "off": ("When off", str, str),
    "name": ("Name", str, _text),
    "description": ("Description", str, _text),
    "owner": ("Owner", str, _text),
    "expected_end": ("Expected end", str, _text),
    "tags": ("Tags", tuple[str, ...], lambda tags: ", ".join(tags) or "none"),
    "links": ("Links", tuple[dict[str, str], ...], _links),
    "overrides": ("Overrides", list[dict[str, Any]] | int, _overrides),
    "archives_at": ("Archives", datetime, moment),
    "archived": ("Lists", bool, lambda archived: "archived" if archived else "in use"),
}


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


def why_override_waits(flag: CompiledFlag, decision: Decision, variant: str) -> str:
    """Why a player's override does not decide, as the end of a sentence."""
    if variant not in flag.variants:
        return "it is ignored, as the flag has no such variant"
    if decision.reason is Reason.PREREQUISITE_FAILED:
        return f"it does not act until {decision.prerequisite or flag.key} allows it"
    return f"it does not act while the flag is {'archived' if flag.archived else 'off'}"


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
