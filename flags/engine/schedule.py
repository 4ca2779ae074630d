"""A rule's percentage over time: a pure function of the clock, so that no job has to move it.

The clock is an argument. Imports no Django.
"""

from datetime import datetime, timedelta

from flags.engine.document import Rule

MICROSECOND = timedelta(microseconds=1)


def is_scheduled(rule: Rule) -> bool:
    """Whether time alone can change what the rule does."""
    return bool(rule.steps or rule.ramp or rule.start or rule.end)


def rollout_at(rule: Rule, now: datetime) -> int:
    """The percentage in force, in thousandths; 0 while the rule has not started or has ended."""
    if (rule.start and now < rule.start) or (rule.end and now >= rule.end):
        return 0
    return figure_at(rule, now)


def figure_at(rule: Rule, now: datetime) -> int:
    """The percentage by steps or ramp alone, in thousandths."""
    if rule.ramp:
        ramp = rule.ramp
        gone = (min(max(now, ramp.start), ramp.end) - ramp.start) // MICROSECOND
        whole = (ramp.end - ramp.start) // MICROSECOND
        # Whole thousandths of the way, rounded down, in integers: the same in every language.
        moved = abs(ramp.to - ramp.from_) * gone // whole
        return ramp.from_ + moved if ramp.to >= ramp.from_ else ramp.from_ - moved
    past = [step.rollout for step in rule.steps if step.at <= now]
    return past[-1] if past else rule.rollout


def next_change(rule: Rule, now: datetime) -> tuple[datetime, int] | None:
    """The next moment named in the schedule, and the percentage from then on."""
    moments = [step.at for step in rule.steps]
    moments += [moment for moment in (rule.start, rule.end) if moment]
    if rule.ramp:
        moments += [rule.ramp.start, rule.ramp.end]
    coming = min((moment for moment in moments if moment > now), default=None)
    return None if coming is None else (coming, rollout_at(rule, coming))


def ceiling(rule: Rule) -> int:
    """The largest percentage that the rule ever has, in thousandths."""
    if rule.ramp:
        return max(rule.ramp.from_, rule.ramp.to)
    return max(rule.rollout, *(step.rollout for step in rule.steps), 0)
