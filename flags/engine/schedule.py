"""A rule's percentage as a pure function of time: no job updates it. Imports no Django."""

from datetime import datetime, timedelta

from flags.engine.document import EVERYBODY, FlagDocument, Rule

MICROSECOND = timedelta(microseconds=1)


def is_scheduled(rule: Rule) -> bool:
    """Whether the percentage of the rule depends on the time."""
    return bool(rule.steps or rule.ramp or rule.start or rule.end)


def rollout_at(rule: Rule, now: datetime) -> int:
    """The percentage in force, in thousandths; 0 while the rule has not started or has ended."""
    if (rule.start and now < rule.start) or (rule.end and now >= rule.end):
        return 0
    return figure_at(rule, now)


def figure_at(rule: Rule, now: datetime) -> int:
    """The percentage in thousandths, without regard to start and end."""
    if rule.ramp:
        ramp = rule.ramp
        elapsed = (min(max(now, ramp.start), ramp.end) - ramp.start) // MICROSECOND
        duration = (ramp.end - ramp.start) // MICROSECOND
        # Integer arithmetic, rounded down: the same in every language.
        moved = abs(ramp.to - ramp.from_) * elapsed // duration
        return ramp.from_ + moved if ramp.to >= ramp.from_ else ramp.from_ - moved
    past = [step.rollout for step in rule.steps if step.at <= now]
    return past[-1] if past else rule.rollout


def next_change(rule: Rule, now: datetime) -> tuple[datetime, int] | None:
    """The next time in the schedule, and the percentage from then on."""
    moments = [step.at for step in rule.steps]
    moments += [moment for moment in (rule.start, rule.end) if moment]
    if rule.ramp:
        moments += [rule.ramp.start, rule.ramp.end]
    following = min((moment for moment in moments if moment > now), default=None)
    return None if following is None else (following, rollout_at(rule, following))


def ceiling(rule: Rule) -> int:
    """The largest percentage that the rule ever has, in thousandths."""
    if rule.ramp:
        return max(rule.ramp.from_, rule.ramp.to)
    return max(rule.rollout, *(step.rollout for step in rule.steps), 0)


def is_rolling_out(document: FlagDocument, now: datetime) -> bool:
    """Whether a rule of the flag, which is on, serves only a part of the players that match it."""
    shares = (rollout_at(rule, now) for rule in document.rules)
    return document.enabled and any(0 < share < EVERYBODY for share in shares)


def changes_later(document: FlagDocument, now: datetime) -> bool:
    """Whether the schedule of a rule has a time ahead."""
    return any(next_change(rule, now) for rule in document.rules)
