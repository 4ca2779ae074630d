"""A guarded rollout in a game: errors rise for players with the new value, and it goes back."""

from datetime import UTC, datetime, timedelta
from math import log, sqrt

import pytest
from django.db import connection

from events import rollups
from flags.engine.document import Rule, boolean_document
from flags.models import Experiment, ExperimentState, Flag, MetricDirection, OnBreach
from flags.results import exposures, refresh
from flags.results.guards import guards_check
from flags.results.rollouts import GuardPlan, rollout_guard
from flags.services import flag_create
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import AuditAction, AuditEntry, Environment, Notification, Role
from tests.api_client import EVENTS, FLAGS, Api
from tests.factories import ACTOR, make_metric
from tests.pages import signed_in, url_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

MINUTES, PLAYERS = 25, 24  # new players each minute
ERRORS = {"disabled": 0.4, "enabled": 0.7}  # the share of players with an error
TOLERANCE = 0.05


def excludes_tolerance(outside: list[int], inside: list[int]) -> bool:
    """Whether the always-valid interval of the relative change lies above the tolerance, by the
    formulas of gbstats and Fieller: then mean B - 1.05 mean A is beyond its own interval."""
    if min(len(outside), len(inside)) < 100:
        return False
    worst, means, errors = 1 + TOLERANCE, [], []
    for arm in (outside, inside):
        mean = sum(arm) / len(arm)
        means.append(mean)
        errors.append(sum((each - mean) ** 2 for each in arm) / (len(arm) - 1) / len(arm))
    n, squared = len(outside) + len(inside), -2 * log(0.05)
    rho = sqrt((squared + log(squared + 1)) / 5000)
    mixed = n * rho**2 + 1
    half = sqrt(n) * sqrt(2 * mixed * log(sqrt(mixed) / 0.05) / (n * rho) ** 2)
    error = sqrt(errors[1] + worst**2 * errors[0])
    return means[1] - worst * means[0] > half * error


def all_settled() -> Horizon:
    """All events so far: the test leaves no transaction open."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM event")
        return Horizon(cursor.fetchone()[0], datetime.now(UTC))


def test_errors_in_b__take_the_rollout_back_and_leave_players_in_a(
    public_api: Api, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "settled", all_settled)
    rule = Rule("r", variant="enabled", rollout=10_000)
    flag = flag_create(
        environment=environment, key="new-shop", actor=ACTOR, salt="s",
        document=boolean_document(enabled=True, rules=(rule,)),
    )  # fmt: skip
    make_metric(environment, "errors", event="error", direction=MetricDirection.DOWN)
    rollout_guard(
        flag, "r", GuardPlan({"errors": TOLERANCE}, 100, OnBreach.STEP_BACK),
        document=flag.spec.with_rollout("r", 50_000), base_revision=1, actor=ACTOR,
    )  # fmt: skip

    def served(player: str) -> str:
        reply = public_api.post(f"{FLAGS}/new-shop/evaluate", {"player_id": player})
        variant: str = reply.data["variant_key"]
        return variant

    first_served: dict[str, str] = {}
    arms: dict[str, list[int]] = {"disabled": [], "enabled": []}
    start, excluded, back = datetime.now(UTC), None, None
    for minute in range(MINUTES):
        events = []
        for number in range(PLAYERS):
            player: str = public_api.register(f"player-{minute}-{number}")["id"]
            variant = first_served[player] = served(player)
            # Evenly, so that chance plays no part.
            had = [sum(arms[variant]), len(arms[variant]) + 1]
            fails = had[0] < ERRORS[variant] * had[1]
            arms[variant].append(int(fails))
            if fails:
                events.append({"player_id": player, "event_name": "error"})
        assert public_api.post(f"{EVENTS}/batch", {"events": events}).status == 200
        exposures.flush()
        now = start + timedelta(minutes=minute)
        rollups.fold_until(all_settled())
        refresh.results_tick(now, guards_check)
        if excluded is None and excludes_tolerance(arms["disabled"], arms["enabled"]):
            excluded = minute
        flag.refresh_from_db()
        if back is None and flag.spec.rules[0].rollout == 10_000:
            back = minute
        if back is not None or (excluded is not None and minute > excluded + 2):
            break
    assert excluded is not None
    assert back is not None
    assert excluded <= back <= excluded + 2

    # Players outside stay outside; of those inside, the ones below the old percentage stay.
    now_served = {player: served(player) for player in first_served}
    assert {
        now_served[player] for player, variant in first_served.items() if variant == "disabled"
    } == {"disabled"}
    left = [player for player, variant in first_served.items() if variant == "enabled"]
    assert 0 < sum(now_served[player] == "enabled" for player in left) < len(left) / 2

    rollout = Experiment.objects.get()
    assert rollout.state == ExperimentState.STOPPED
    breached = AuditEntry.objects.get(action=AuditAction.EXPERIMENT_BREACHED)
    shown = (breached.after or {})["_evidence"][0]
    assert shown["lift"]["low"] > TOLERANCE
    assert shown["other"]["players"] >= 100
    notification = Notification.objects.get(kind="guard_breach")
    assert "The percentage went back to 10 %." in notification.title

    client = signed_in(Role.LIVE_OPS)
    entry = (breached.after or {})["_entry"]
    assert client.post(url_of(environment, "audit_undo", entry)).status_code == 302
    assert Flag.objects.get(pk=flag.pk).spec.rules[0].rollout == 50_000
    some = list(first_served)[::5]
    assert [served(player) for player in some] == [first_served[player] for player in some]
