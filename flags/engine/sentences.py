"""Texts about flags for staff: rules, schedules, reasons of decisions. Imports no Django."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from flags.engine.bucketing import weights_of
from flags.engine.document import (
    EVERYBODY,
    FlagDocument,
    Prerequisite,
    Rule,
    RuleGroup,
)
from flags.engine.evaluation import (
    CompiledFlag,
    Decision,
    EvaluationContext,
    Reason,
    takes,
)
from flags.engine.schedule import MICROSECOND, figure_at
from ilara_admin.core.local_times import clock_text, in_zone, readings
from ilara_admin.core.percentages import percent
from segments.language.parser import parse
from segments.language.sentences import describe

MOST_RULES = 3  # in a summary


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
    everyone = figure == EVERYBODY and _is_for_everyone(rule)
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
    if _is_for_everyone(rule):
        return "everyone"
    return "".join(part.text for part in _audience(rule))


def _is_for_everyone(rule: Rule) -> bool:
    return rule.segment is None and rule.conditions is None and rule.group is None


def _audience(rule: Rule) -> list[Part]:
    found = [Part("players") if rule.segment is None else Part(rule.segment, "segment")]
    if rule.group is not None:
        found.append(Part(f" in {group_range(rule.group)}"))
    if rule.conditions is not None:
        found.append(Part(f" where {describe(parse(rule.conditions))}"))
    return found


def group_range(group: RuleGroup) -> str:
    """`10 % to 30 % of the group onboarding`."""
    return f"{percent(group.start)} to {percent(group.end)} of the group {group.key}"


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


def why(flag: CompiledFlag, decision: Decision, context: EvaluationContext) -> str:
    """The reason of a decision as a sentence."""
    match decision.reason:
        case Reason.DISABLED:
            return "The flag is archived." if flag.archived else "The flag is off."
        case Reason.PREREQUISITE_FAILED:
            return _why_prerequisite(flag, decision)
        case Reason.OVERRIDE:
            return "Set for this player."
        case Reason.DEFAULT:
            return _why_default(flag, context)
    index = decision.rule_index or 0
    share = flag.rules[index].share_at(context.at)
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


def _why_default(flag: CompiledFlag, context: EvaluationContext) -> str:
    """Names the first rule that matches except for its percentage."""
    for index, compiled in enumerate(flag.rules):
        if takes(compiled, context):
            share = percent(compiled.share_at(context.at))
            return f"Rule {index + 1} matches, but the player is outside its {share}: the default."
    return "No rule matched: the default." if flag.rules else "No rules: the default."
