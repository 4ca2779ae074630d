"""Rate limits on requests and events per environment, by the project's tier.

Each policy has a window that opens with the first use after the previous one closed. The count is
one row per environment and policy, on the database's clock, so it is shared by all processes and
machines. A process reserves allowance in leases: of one where the limit must be exact, larger where
that would cost too many statements. Nothing is admitted beyond the limit.

A batch of events is admitted whole if any allowance is left; the excess is carried over to the
following windows, and later events are refused until it is used up.

A process never refuses from memory alone: the statement that refuses also reads the environment's
version.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from time import monotonic

from ilara_admin.api.environment_cache import Snapshot
from ilara_admin.api.errors import ApiError, Code
from ilara_admin.core import db, metrics
from ilara_admin.models import Tier

TRIES = 5


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `limit` in `window` seconds; a process reserves `lease` of them at a time."""

    name: str
    limit: int
    window: int
    lease: int


REQUESTS, EVENTS = "requests", "events"
POLICIES: dict[str, dict[str, Policy]] = {
    Tier.FREE: {REQUESTS: Policy(REQUESTS, 100, 60, 1), EVENTS: Policy(EVENTS, 10, 1, 1)},
    Tier.GROWTH: {REQUESTS: Policy(REQUESTS, 1_000, 60, 10), EVENTS: Policy(EVENTS, 100, 1, 5)},
    Tier.PRO: {REQUESTS: Policy(REQUESTS, 10_000, 60, 50), EVENTS: Policy(EVENTS, 1_000, 1, 25)},
}


@dataclass(frozen=True, slots=True)
class LimitState:
    """The remaining allowance of a policy, and the seconds until its window closes."""

    policy: Policy
    remaining: int
    reset: int


class VersionChangedError(Exception):
    """The environment changed after the snapshot was loaded: retry with a newer one."""


@dataclass(slots=True)
class _LimitLease:
    policy: Policy
    left: int
    until: float  # monotonic seconds
    beyond: int  # what was left in the row after the lease was taken


_leases: dict[tuple[int, str], _LimitLease] = {}
_lock = threading.Lock()


def clear_cache() -> None:
    """Drop all leases."""
    _leases.clear()


def policy_of(snapshot: Snapshot, name: str) -> Policy | None:
    """The tier's policy; None if the tier has no limits."""
    policies = POLICIES.get(snapshot.tier)
    return None if policies is None else policies[name]


def take(snapshot: Snapshot, name: str, amount: int = 1) -> LimitState | None:
    """Count `amount` against the policy, or raise ApiError 429. None if the tier has no limits.

    Raises VersionChangedError if the database has a newer version than the snapshot.
    """
    policy = policy_of(snapshot, name)
    if policy is None:
        return None
    key = (snapshot.environment_id, name)
    with _lock:
        lease = _leases.get(key)
        # A tier change invalidates leases taken under the old limits.
        if lease and lease.policy == policy and monotonic() < lease.until and lease.left >= amount:
            lease.left -= amount
            return _state(lease)
    return _take(snapshot, policy, amount)


def _state(lease: _LimitLease) -> LimitState:
    reset = max(ceil(lease.until - monotonic()), 0)
    return LimitState(lease.policy, lease.beyond + lease.left, reset)


# $1 environment, $2 policy, $3 limit, $4 window in seconds, $5 amount to take, $6 how much of it
# must fit. Each whole window that has passed reduces the used amount by the limit; at zero, a new
# window opens now. A plain UPDATE refuses without taking the row's lock. Counts may be lost in a
# crash of the server, so the commit is asynchronous.
_PERIODS = "greatest(floor(extract(epoch FROM env.now - w.opened_at) / $4::int), 0)::bigint"
_CARRIED = f"greatest(w.used - $3::bigint * {_PERIODS}, 0)"
_ENV = """WITH env AS (
    SELECT e.id, e.config_version, statement_timestamp() AS now,
           set_config('synchronous_commit', 'off', true)
    FROM environment e WHERE e.id = $1)"""
TAKE = f"""{_ENV}
UPDATE rate_window w SET
    used = {_CARRIED} + $5::bigint,
    opened_at = CASE WHEN {_PERIODS} > 0 AND {_CARRIED} = 0 THEN env.now
                     ELSE w.opened_at + {_PERIODS} * make_interval(secs => $4::int) END
FROM env
WHERE w.environment_id = env.id AND w.policy = $2 AND {_CARRIED} + $6::bigint <= $3::bigint
RETURNING env.config_version, env.now, w.opened_at, w.used"""
READ = """
SELECT e.config_version, statement_timestamp(), w.opened_at, w.used
FROM environment e LEFT JOIN rate_window w ON w.environment_id = e.id AND w.policy = $2
WHERE e.id = $1"""
OPEN = """
INSERT INTO rate_window (environment_id, policy, opened_at, used)
VALUES ($1, $2, 'epoch'::timestamptz, 0) ON CONFLICT DO NOTHING RETURNING used"""


def _take(snapshot: Snapshot, policy: Policy, amount: int) -> LimitState:
    """Take a lease, or only `amount` if a whole lease no longer fits."""
    for _ in range(TRIES):
        for taken, room in ((max(policy.lease, amount), max(policy.lease, amount)), (amount, 1)):
            asked_at = monotonic()
            row = db.fetch_one(
                TAKE,
                [snapshot.environment_id, policy.name, policy.limit, policy.window, taken, room],
            )
            if row is not None:
                version, now, opened_at, used = row
                lease = _keep(snapshot, policy, taken, amount, now, opened_at, used, asked_at)
                if version != snapshot.version:
                    raise VersionChangedError
                return _state(lease)
        refusal = _refusal(snapshot, policy)
        if refusal is not None:
            raise refusal
    raise refused(LimitState(policy, 0, 1))


def _keep(
    snapshot: Snapshot, policy: Policy, taken: int, amount: int, now: datetime,
    opened_at: datetime, used: int, asked_at: float,
) -> _LimitLease:  # fmt: skip
    """Store the new lease, plus the remainder of an older one in the same window."""
    closes = opened_at + timedelta(seconds=policy.window)
    # Counted from when the statement was sent, so that a lease cannot outlive its window.
    until = asked_at + (closes - now).total_seconds()
    lease = _LimitLease(policy, taken - amount, until, max(policy.limit - used, 0))
    key = (snapshot.environment_id, policy.name)
    with _lock:
        old = _leases.get(key)
        if old and old.policy == policy and abs(old.until - until) < policy.window / 2:
            lease.left += old.left
        _leases[key] = lease
        return lease


def _refusal(snapshot: Snapshot, policy: Policy) -> ApiError | None:
    """The error to raise when nothing could be taken, or None to try again."""
    row = db.fetch_one(READ, [snapshot.environment_id, policy.name], safe_to_repeat=True)
    if row is None:
        raise VersionChangedError
    version, now, opened_at, used = row
    if version != snapshot.version:
        raise VersionChangedError
    if opened_at is None:
        db.fetch_all(OPEN, [snapshot.environment_id, policy.name], safe_to_repeat=True)
        return None
    elapsed = max((now - opened_at).total_seconds(), 0)
    periods = int(elapsed // policy.window)
    carried = max(used - policy.limit * periods, 0)
    if carried < policy.limit:
        return None
    wait = (periods + carried // policy.limit) * policy.window - elapsed
    return refused(LimitState(policy, 0, max(ceil(wait), 1)))


def refused(state: LimitState) -> ApiError:
    policy = state.policy
    span = "minute" if policy.window == 60 else "second"
    metrics.RATE_LIMIT_REFUSALS.labels(policy.name).inc()
    return ApiError(
        Code.RATE_LIMIT_EXCEEDED,
        f"This tier allows {policy.limit:,} {policy.name} per {span}. "
        f"Try again in {state.reset} second{'s' if state.reset != 1 else ''}",
        headers={"Retry-After": str(state.reset), **headers([state])},
    )


def headers(states: list[LimitState]) -> dict[str, str]:
    """The RateLimit headers of the IETF draft, and the X-RateLimit headers for the first policy."""
    first = states[0]
    return {
        "RateLimit-Policy": ", ".join(
            f'"{item.policy.name}";q={item.policy.limit};w={item.policy.window}' for item in states
        ),
        "RateLimit": ", ".join(
            f'"{item.policy.name}";r={item.remaining};t={item.reset}' for item in states
        ),
        "X-RateLimit-Limit": str(first.policy.limit),
        "X-RateLimit-Remaining": str(first.remaining),
        "X-RateLimit-Reset": str(first.reset),
    }
