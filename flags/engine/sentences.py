"""Texts about flags for staff: rules, differences, reasons of decisions. Imports no Django."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import msgspec

from flags.engine.bucketing import weights_of
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    MetadataValue,
    Prerequisite,
    Rule,
    Slice,
    Variant,
)
from flags.engine.evaluation import CompiledFlag, Decision, Reason, takes
from flags.engine.schedule import MICROSECOND, figure_at
from ilara_admin.core import diff
from ilara_admin.core.diff import Change, Path
from ilara_admin.core.local_times import clock_text, in_zone, readings
from ilara_admin.core.percentages import percent
from ilara_admin.core.times import read_time
from segments.language.compiler import Subject
from segments.language.parser import RuleError, parse
from segments.language.sentences import describe

SHOWN_OVERRIDES = 20
MOST_RULES = 3  # in a summary
OVERRIDE_FIELDS = ("player", "variant", "until")


class Part(NamedTuple):
    """A piece of a sentence: plain words, or the name of a `segment` or a `variant`, which a page
    may link."""

    text: str
    kind: Literal["", "segment", "variant"] = ""


def value_text(value: Any) -> str:
    """A variant's value on one line, as JSON: text in quotes, so that "1" and 1 differ."""
    return "no value" if value is None else json.dumps(value, ensure_ascii=False)


def summary(document: FlagDocument, at: datetime, *, archived: bool = False) -> str:
    """What a flag serves at a time, on one line: `50 % of testers get B; otherwise A`. For `at` see
    `sentence`."""
    if archived or not document.enabled:
        return f"{'archived' if archived else 'off'}: everyone gets {document.off}"
    rules = [sentence(rule, at) for rule in document.rules]
    if len(rules) > MOST_RULES:
        rules[MOST_RULES - 1 :] = [f"{len(rules) - MOST_RULES + 1} more rules"]
    last = f"otherwise {document.default}" if rules else f"everyone gets {document.default}"
    text = "; ".join([*rules, last])
    needed = " and ".join(map(needs, document.prerequisites))
    return f"only if {needed}: {text}" if needed else text


def sentence(rule: Rule, at: datetime) -> str:
    """What a rule serves at a time, and what comes: `50 % of testers get B, rising to 100 % by
    4 Dec`. Dates are in the time zone of `at`."""
    return "".join(part.text for part in sentence_parts(rule, at))


def sentence_parts(rule: Rule, at: datetime) -> list[Part]:
    """The pieces of `sentence`."""
    ended = rule.end is not None and at >= rule.end
    begins = rule.start if rule.start and at < rule.start and not ended else None
    figured = rule.end - MICROSECOND if ended and rule.end else begins or at
    figure = _rounded(figure_at(rule, figured), rule)
    everyone = figure == EVERYBODY and rule.segment is None and rule.conditions is None
    verb = "got" if ended else "gets" if everyone else "get"
    when = f" from {short_moment(begins, at)}" if begins else ""
    if rule.end:
        when += f" until {short_moment(rule.end, at, always_clock=True)}"
    if not ended:
        when += schedule(rule, at)
    found = [
        Part("" if figure == EVERYBODY else f"{percent(figure)} of "),
        *([Part("everyone")] if everyone else _audience(rule)),
        Part(f" {verb} "),
        *_served(rule),
        Part(when),
    ]
    return [part for part in found if part.text]


def _rounded(figure: int, rule: Rule) -> int:
    """A percentage on its way from one to another, rounded down to tenths: 54.166 % as 54.1 %."""
    ramp = rule.ramp
    moving = ramp is not None and figure not in (ramp.from_, ramp.to)
    return figure // 100 * 100 if moving and figure >= 1_000 else figure


def schedule(rule: Rule, at: datetime) -> str:
    """How the percentage of a rule goes on after a time, as the end of a sentence: `, rising to
    100 % by 4 Dec`; "" if it stays."""
    at = max(at, rule.start.astimezone(at.tzinfo)) if rule.start else at
    figure, ramp = figure_at(rule, at), rule.ramp
    if ramp:
        if at >= ramp.end or figure == ramp.to:
            return ""
        path = f"{_direction([figure, ramp.to])} to {percent(ramp.to)}"
        end = short_moment(ramp.end, at)
        if at >= ramp.start:
            return f", {path} by {end}"
        return f", {path} from {short_moment(ramp.start, at)} to {end}"
    steps = [step for step in rule.steps if step.at > at]
    if not steps:
        return ""
    direction = _direction([figure, *(step.rollout for step in steps)])
    if len(steps) > 2:
        last = steps[-1]
        end = short_moment(last.at, at)
        return f", {direction} to {percent(last.rollout)} by {end} in {len(steps)} steps"
    texts = [f"{percent(step.rollout)} on {short_moment(step.at, at)}" for step in steps]
    return f", {direction} to {' and '.join(texts)}"


def _direction(figures: Sequence[int]) -> str:
    ups = {later >= earlier for earlier, later in pairwise(figures)}
    return "changing" if len(ups) > 1 else "rising" if True in ups else "falling"


def audience(rule: Rule) -> str:
    """The players that a rule is for: `testers where level is at least 40`, or `everyone`."""
    if rule.segment is None and rule.conditions is None:
        return "everyone"
    return "".join(part.text for part in _audience(rule))


def _audience(rule: Rule) -> list[Part]:
    who = Part("players") if rule.segment is None else Part(rule.segment, "segment")
    if rule.conditions is None:
        return [who]
    return [who, Part(f" where {describe(parse(rule.conditions))}")]


def _served(rule: Rule) -> list[Part]:
    """`B`, or `A (50 %), B (30 %) or C (20 %)`."""
    if rule.split is None:
        return [Part(str(rule.variant), "variant")]
    found: list[Part] = []
    weights = list(weights_of(rule.split).items())
    for place, (variant, weight) in enumerate(weights, start=1):
        between = "" if place == len(weights) else " or " if place == len(weights) - 1 else ", "
        found += [Part(variant, "variant"), Part(f" ({percent(weight)}){between}")]
    return found


def short_moment(time: datetime, at: datetime, *, always_clock: bool = False) -> str:
    """`4 Dec, 09:00`, at midnight `4 Dec` unless `always_clock`; in the time zone of `at`, with the
    year if it is another than that of `at`. UTC is named, and the offset of a time that occurs
    twice."""
    here = in_zone(time, at.tzinfo or UTC)
    year = f" {here.year}" if here.year != at.year else ""
    day = f"{here.day} {here:%b}{year}"
    if not always_clock and here.hour == here.minute == here.second == 0:
        return day
    clock = f"{here:{'%H:%M:%S' if here.second else '%H:%M'}}"
    twice = len(readings(here.replace(tzinfo=None), at.tzinfo or UTC)) > 1
    return f"{day}, {clock}{f' {here.tzinfo}' if twice or not here.utcoffset() else ''}"


def percentage(rule: Rule, zone: tzinfo = UTC) -> str:
    """The percentage over all time: `10 %; 50 % from 1 Dec 2026, 09:00 UTC`."""

    def moment(time: datetime) -> str:
        return clock_text(in_zone(time, zone))

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
    texts = ["" if side is None else text(msgspec.convert(side, kind)) for side in (before, after)]
    return _changed(label, *texts)


def _read[T](value: Any, kind: type[T]) -> T | None:
    return None if value is None else msgspec.convert(value, kind)


def _changed(label: str, before: str, after: str) -> list[Change]:
    return [Change(label, before, after)] if before != after else []


def part_text(path: Path, value: Any, at: datetime) -> str | None:
    """The text of a part of a stored document, for core/diff.py."""
    inside, name = ("", "", *path)[-2:]
    try:
        if name == "rollout":
            return percent(msgspec.convert(value, int))
        if name == "split":
            weights = weights_of(msgspec.convert(value, tuple[Slice, ...]))
            return ", ".join(f"{variant} {percent(weight)}" for variant, weight in weights.items())
        if inside == "rules":
            return sentence(msgspec.convert(value, Rule), at)
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
