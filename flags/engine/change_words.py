"""The differences between two states of a flag, as text for staff. Imports no Django."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from flags.engine.bucketing import weights_of
from flags.engine.document import (
    FlagDocument,
    MetadataValue,
    Prerequisite,
    Rule,
    Slice,
    Variant,
)
from flags.engine.sentences import audience, needs, percentage, sentence, short_moment, value_text
from ilara_admin.core import diff
from ilara_admin.core.diff import Change, Path
from ilara_admin.core.percentages import percent
from ilara_admin.core.structs import converter
from ilara_admin.core.times import read_time
from segments.language.parser import RuleError

SHOWN_OVERRIDES = 20
OVERRIDE_FIELDS = ("player", "variant", "until")


def differences(before: FlagDocument, after: FlagDocument, at: datetime) -> list[Change]:
    """The differences, in the order of the flag page, with rules as `sentence` at that time."""
    return [
        *_changed("State", _state(before.enabled), _state(after.enabled)),
        *_variant_changes(before.variants, after.variants),
        *_rule_changes(before.rules, after.rules, at),
        *_changed("Only if", _needs(before.prerequisites), _needs(after.prerequisites)),
        *_changed("Otherwise", before.default, after.default),
        *_changed("When off", before.off, after.off),
        *_metadata_changes(before.metadata, after.metadata),
    ]


def field_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], at: datetime
) -> list[Change]:
    """Like `differences`, between some fields of a flag as the audit log stores them, such as its
    details. A field that cannot be read is compared as JSON."""
    found: list[Change] = []
    if "player" in {**before, **after}:
        found += _changed("Override", *(override_sentence(side, at) for side in (before, after)))
        before, after = (
            {name: side[name] for name in side if name not in OVERRIDE_FIELDS}
            for side in (before, after)
        )
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        try:
            found += _field_changes(name, old, new, at)
        except (msgspec.ValidationError, RuleError):
            found += diff.differences({name: old}, {name: new}, at=at)
    return found


def override_sentence(fields: Mapping[str, Any], at: datetime) -> str:
    """`player_123 gets B until 4 Dec, 18:00`, of the fields that the audit log stores of an
    override; `none` without one."""
    if "variant" not in fields:
        return "none"
    text = f"{fields['player']} gets {fields['variant']}"
    until = read_time(fields["until"]) if fields.get("until") else None
    return f"{text} until {short_moment(until, at, always_clock=True)}" if until else text


def _field_changes(name: str, before: Any, after: Any, at: datetime) -> list[Change]:
    """The change of one field; None on a side without it."""
    if name == "variants":
        old, new = _read(before, tuple[Variant, ...]), _read(after, tuple[Variant, ...])
        return _variant_changes(old or (), new or ())
    if name == "rules":
        return _rule_changes(
            _read(before, tuple[Rule, ...]) or (), _read(after, tuple[Rule, ...]) or (), at
        )
    if name == "metadata":
        return _metadata_changes(
            *(_read(side, dict[str, MetadataValue]) or {} for side in (before, after))
        )
    if name == "archives_at":
        times = (_read(side, datetime) for side in (before, after))
        texts = [short_moment(time, at, always_clock=True) if time else "never" for time in times]
        return _changed("Archives", *texts)
    if name not in _FIELDS:
        return diff.differences({name: before}, {name: after}, at=at)
    label, kind, text = _FIELDS[name]
    if name == "prerequisites":
        before, after = before or [], after or []
    texts = ["" if side is None else text(converter(kind)(side)) for side in (before, after)]
    return _changed(label, *texts)


def _read(value: Any, kind: Any) -> Any:
    return None if value is None else converter(kind)(value)


def _changed(label: str, before: str, after: str) -> list[Change]:
    return [Change(label, before, after)] if before != after else []


def part_text(path: Path, value: Any, at: datetime) -> str | None:
    """The text of a part of a stored document, for core/diff.py."""
    inside, name = ("", "", *path)[-2:]
    try:
        if name == "rollout":
            return percent(converter(int)(value))
        if name == "split":
            weights = weights_of(converter(tuple[Slice, ...])(value))
            return ", ".join(f"{variant} {percent(weight)}" for variant, weight in weights.items())
        if inside == "rules":
            return sentence(converter(Rule)(value), at)
        if inside == "variants":
            return value_text(converter(Variant)(value).value)
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


def _metadata_changes(
    before: Mapping[str, MetadataValue], after: Mapping[str, MetadataValue]
) -> list[Change]:
    found: list[Change] = []
    for key in sorted({**before, **after}):
        texts = [value_text(side[key]) if key in side else "none" for side in (before, after)]
        found += _changed(f"Metadata {key}", *texts)
    return found


def _rule_changes(before: Sequence[Rule], after: Sequence[Rule], at: datetime) -> list[Change]:
    found: list[Change] = []
    old_rules = {rule.id: rule for rule in before}
    new_rules = {rule.id: rule for rule in after}
    for rule_id in {**old_rules, **new_rules}:
        label = _place(before, after, rule_id)
        old, new = old_rules.get(rule_id), new_rules.get(rule_id)
        if old is None or new is None:
            texts = (sentence(each, at) if each else "none" for each in (old, new))
            found += _changed(label, *texts)
            continue
        found += _changed(f"{label}, name", old.name or "none", new.name or "none")
        # The sentence leaves out what is past, and a schedule may differ in its middle only.
        found += _changed(label, sentence(old, at), sentence(new, at)) or _changed(
            f"{label}, percentage", *(percentage(each, at.tzinfo or UTC) for each in (old, new))
        )
    return found + _order_changes(before, after, at)


def _place(before: Sequence[Rule], after: Sequence[Rule], rule_id: str) -> str:
    for rules, note in ((after, ""), (before, " (removed)")):
        ids = [rule.id for rule in rules]
        if rule_id in ids:
            return f"Rule {ids.index(rule_id) + 1}{note}"
    return "Rule"


def _order_changes(before: Sequence[Rule], after: Sequence[Rule], at: datetime) -> list[Change]:
    """The order of the rules that both sides have, if it differs."""
    shared = {rule.id for rule in before} & {rule.id for rule in after}
    old, new = ([rule for rule in side if rule.id in shared] for side in (before, after))
    if [rule.id for rule in old] == [rule.id for rule in new]:
        return []
    for text in (audience, partial(sentence, at=at)):
        texts = ["; ".join(map(text, rules)) for rules in (old, new)]
        if texts[0] != texts[1]:
            return [Change("Order of rules", *texts)]
    places = {rule.id: f"rule {number}" for number, rule in enumerate(before, start=1)}
    texts = ["; ".join(places[rule.id] for rule in rules) for rules in (old, new)]
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
    "archived": ("Lists", bool, lambda archived: "archived" if archived else "in use"),
}
