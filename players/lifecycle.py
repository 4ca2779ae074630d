"""The lifecycle stage: a total, exclusive function of four times and the thresholds. No Django.

In order of precedence, with half-open boundaries (a silence of exactly 7 days is at risk):

    churned       silent for churned_days or more
    at_risk       silent for at_risk_days or more
    reactivated   came back from a churned silence less than new_days ago
    new           first seen less than new_days ago
    active        everybody else
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ilara_admin.api.enums import DocumentedEnum


class Stage(DocumentedEnum):
    """The thresholds are settings of the environment."""

    NEW = "new", "First seen less than 7 days ago, unless the environment says otherwise."
    ACTIVE = "active", "Seen lately, and none of the others."
    AT_RISK = "at_risk", "Silent for 7 days or more."
    CHURNED = "churned", "Silent for 30 days or more."
    REACTIVATED = "reactivated", "Came back less than 7 days ago from having churned."


@dataclass(frozen=True, slots=True)
class Thresholds:
    new_days: int = 7
    at_risk_days: int = 7
    churned_days: int = 30


@dataclass(frozen=True, slots=True)
class History:
    """`active_since` starts the present run without an at-risk silence; `returned_at` is the last
    time a churned silence ended, or None."""

    first_seen_at: datetime
    last_seen_at: datetime
    active_since: datetime
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """`next_stage` comes at `next_at` if the player is not seen before; None after churned."""

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
    """The stage with the time it began and the one that follows without further activity."""
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
