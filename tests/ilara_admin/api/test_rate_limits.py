"""Rate limits within one process; test_limits_across_processes.py has several."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from events.models import Event
from ilara_admin.api import environment_cache, rate_limits
from ilara_admin.api.errors import ApiError
from ilara_admin.core.projects import project_update
from ilara_admin.models import Environment, KeyKind, RateWindow, Tier
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_key, make_player

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def api_of(tier: Tier) -> tuple[Environment, Api]:
    environment = make_environment(tier=tier)
    return environment, Api(make_key(environment, KeyKind.SECRET).token)


def pass_time(environment: Environment, **span: float) -> None:
    """Move the windows in the database into the past, and drop the leases of this process."""
    RateWindow.objects.filter(environment=environment).update(
        opened_at=F("opened_at") - timedelta(**span)
    )
    rate_limits.clear_cache()


def take(environment: Environment, policy: str, amount: int = 1) -> rate_limits.LimitState | None:
    return rate_limits.take(environment_cache.of_environment(environment.pk), policy, amount)


def test_free__allows_100_requests_and_refuses_the_101st() -> None:
    environment, api = api_of(Tier.FREE)
    player = make_player(environment)
    path = f"{PLAYERS}/{player.id}"
    remaining = [int(api.get(path).headers["X-RateLimit-Remaining"]) for _ in range(100)]
    assert remaining == list(range(99, -1, -1))
    refused = api.get(path)
    assert (refused.status, refused.error["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    seconds = int(refused.headers["Retry-After"])
    assert 1 <= seconds <= 60
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={seconds}'
    assert refused.headers["RateLimit-Policy"] == '"requests";q=100;w=60'
    assert refused.headers["X-RateLimit-Limit"] == "100"

    pass_time(environment, seconds=seconds)
    assert api.get(path).status == 200


def test_refused_request__is_refused_before_its_body_is_read() -> None:
    environment, api = api_of(Tier.FREE)
    for _ in range(100):
        take(environment, rate_limits.REQUESTS)
    assert api.post(PLAYERS, {"external_id": 1}).status == 429
    assert api.get("/v1/nowhere").status == 404
    assert Api("pk_live_x").get(PLAYERS).status == 401


def test_enterprise__is_never_limited_and_needs_one_query_less(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for tier, queries in ((Tier.ENTERPRISE, 1), (Tier.FREE, 2)):
        environment, api = api_of(tier)
        path = f"{PLAYERS}/{make_player(environment).id}"
        api.get(path)
        with django_assert_num_queries(queries):
            reply = api.get(path)
        assert ("RateLimit" in reply.headers) == (tier == Tier.FREE)


def test_growth__takes_leases(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    environment, api = api_of(Tier.GROWTH)
    path = f"{PLAYERS}/{make_player(environment).id}"
    api.get(path)
    with django_assert_num_queries(9):
        replies = [api.get(path) for _ in range(9)]
    assert [reply.headers["X-RateLimit-Remaining"] for reply in replies][-1] == "990"


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.GROWTH, Tier.PRO])
@pytest.mark.parametrize("policy", [rate_limits.REQUESTS, rate_limits.EVENTS])
def test_limit__is_exact_for_any_lease(tier: Tier, policy: str) -> None:
    environment = make_environment(tier=tier)
    limit = rate_limits.POLICIES[tier][policy].limit
    amount = limit // 10
    for _ in range(10):
        assert take(environment, policy, amount)
        # A window of one second would close during the test.
        RateWindow.objects.filter(environment=environment).update(opened_at=Now() + HOUR)
    with pytest.raises(ApiError) as refused:
        take(environment, policy)
    assert refused.value.status == 429


def test_batch__is_admitted_whole_and_the_excess_is_carried_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In hours, since a second may pass within the test.
    free = rate_limits.POLICIES[Tier.FREE]
    monkeypatch.setitem(free, rate_limits.EVENTS, replace(free[rate_limits.EVENTS], window=3_600))
    environment, api = api_of(Tier.FREE)
    player = make_player(environment)
    event = {"player_id": str(player.id), "event_name": "x"}
    assert api.post(f"{EVENTS}/batch", {"events": [event] * 35}).data["accepted"] == 35
    refused = api.post(f"{EVENTS}/batch", {"events": [event] * 5})
    assert refused.status == 429
    assert 2 * 3_600 < int(refused.headers["Retry-After"]) <= 3 * 3_600
    assert refused.headers["RateLimit-Policy"] == '"events";q=10;w=3600'
    assert count_of(environment) == 35

    pass_time(environment, hours=2)
    assert api.post(EVENTS, event).status == 429
    pass_time(environment, hours=1)
    reply = api.post(EVENTS, event)
    assert reply.status == 201
    assert reply.headers["RateLimit-Policy"] == '"requests";q=100;w=60, "events";q=10;w=3600'


def count_of(environment: Environment) -> int:
    return Event.objects.of(environment).count()


def test_tier_change__applies_at_once_and_invalidates_leases() -> None:
    environment, api = api_of(Tier.GROWTH)
    path = f"{PLAYERS}/{make_player(environment).id}"
    for _ in range(101):
        assert api.get(path).status == 200
    project_update(environment.project, tier=Tier.FREE, actor=ACTOR)
    assert api.get(path).status == 429
    project_update(environment.project, tier=Tier.ENTERPRISE, actor=ACTOR)
    reply = api.get(path)
    assert reply.status == 200
    assert "RateLimit" not in reply.headers


def test_environments__do_not_share_a_limit() -> None:
    environment = make_environment(tier=Tier.FREE)
    other = environment.project.environments.exclude(pk=environment.pk).get()
    for _ in range(100):
        take(environment, rate_limits.REQUESTS)
    state = take(other, rate_limits.REQUESTS)
    assert state
    assert state.remaining == 99


@pytest.mark.django_db(transaction=True)
def test_many_threads__share_the_leases_of_a_process_exactly() -> None:
    environment = make_environment(tier=Tier.GROWTH)
    current = environment_cache.of_environment(environment.pk)
    admitted: list[int] = []

    def use() -> None:
        for _ in range(150):
            try:
                rate_limits.take(current, rate_limits.REQUESTS)
            except ApiError:
                continue
            admitted.append(1)
        connection.close()

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1_000
