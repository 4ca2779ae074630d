"""The lifecycle stage, a pure function of four times and the thresholds. Imports no Django.

The first stage that applies, with half-open boundaries (exactly 7 days inactive is at risk):

    churned       inactive for churned_days or more
    at_risk       inactive for at_risk_days or more
    reactivated   returned after being churned, less than new_days ago
    new           first seen less than new_days ago
    active        all others
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ilara_admin.api.enums import DocumentedEnum


class Stage(DocumentedEnum):
    """The thresholds are environment settings; the defaults are given."""

    NEW = "new", "First seen less than 7 days ago."
    ACTIVE = "active", "None of the other stages applies."
    AT_RISK = "at_risk", "Inactive for 7 days or more."
    CHURNED = "churned", "Inactive for 30 days or more."
    REACTIVATED = "reactivated", "Returned less than 7 days ago after being churned."


@dataclass(frozen=True, slots=True)
class Thresholds:
    new_days: int = 7
    at_risk_days: int = 7
    churned_days: int = 30


@dataclass(frozen=True, slots=True)
class History:
    """`active_since` is when the player last returned from at risk or later, else first_seen_at.
    `returned_at` is when the player last returned from churned, or None."""

    first_seen_at: datetime
    last_seen_at: datetime
    active_since: datetime
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """`next_stage` begins at `next_at` unless the player is seen before. None if churned."""

    stage: Stage
    since: datetime
    next_stage: Stage | None
    next_at: datetime | None


def stage_at(history: History, thresholds: Thresholds, now: datetime) -> Stage:
    silence = now - history.last_seen_at
    if silence >= timedelta(days=thresholds.churned_days):
        return Stage.CHURNED
    if silence >= timedelta(days=thresholds.at_risk_days):
        return Stage.AT_RISK
    fresh = timedelta(days=thresholds.new_days)
    if history.returned_at is not None and now - history.returned_at < fresh:
        return Stage.REACTIVATED
    if now - history.first_seen_at < fresh:
        return Stage.NEW
    return Stage.ACTIVE


def lifecycle_at(history: History, thresholds: Thresholds, now: datetime) -> Lifecycle:
    """The stage, when it began, and the next stage without further activity."""
    fresh = timedelta(days=thresholds.new_days)
    boundaries = [
        history.first_seen_at + fresh,
        history.last_seen_at + timedelta(days=thresholds.at_risk_days),
        history.last_seen_at + timedelta(days=thresholds.churned_days),
    ]
    if history.returned_at is not None:
        boundaries.append(history.returned_at + fresh)
    boundaries.sort()

    stage = stage_at(history, thresholds, now)
    since = history.active_since
    for moment in boundaries:
        before = stage_at(history, thresholds, moment - timedelta(microseconds=1))
        if since < moment <= now and before != stage_at(history, thresholds, moment):
            since = moment
    for moment in boundaries:
        following = stage_at(history, thresholds, moment)
        if moment > now and following != stage:
            return Lifecycle(stage, since, following, moment)
    return Lifecycle(stage, since, None, None)
