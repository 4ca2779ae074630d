"""Rate limits with four server processes on one database: exact for all of them together."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from math import ceil

import pytest
from django.db.models import F
from django.db.models.functions import Now

from ilara_admin.core.projects import project_update
from ilara_admin.models import Environment, KeyKind, RateWindow, Tier
from tests.api_client import EVENTS, PLAYERS, Reply
from tests.factories import ACTOR, make_environment, make_key, make_player
from tests.serving import Gunicorn

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def servers(four_gunicorns: list[Gunicorn]) -> list[Gunicorn]:
    return four_gunicorns


def limited_environment(tier: Tier) -> tuple[Environment, str, str]:
    environment = make_environment(tier=tier)
    player = make_player(environment)
    return environment, make_key(environment, KeyKind.SECRET).token, str(player.id)


def together(servers: list[Gunicorn], token: str, path: str, number: int) -> list[Reply]:
    """So many requests, spread over the processes, as fast as they go."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda index: servers[index % 4].api(token).get(path), range(number)))


def age(environment: Environment) -> float:
    """How many seconds ago the window of requests opened, by the database's clock."""
    windows = RateWindow.objects.filter(environment=environment, policy="requests")
    found: timedelta = windows.values_list(Now() - F("opened_at"), flat=True).get()
    return found.total_seconds()


def open_window(environment: Environment, ago: timedelta) -> None:
    RateWindow.objects.filter(environment=environment).update(opened_at=Now() - ago)


def test_free__answers_exactly_100_of_300_and_opens_again_when_it_said(
    servers: list[Gunicorn],
) -> None:
    environment, token, player_id = limited_environment(Tier.FREE)
    path = f"{PLAYERS}/{player_id}"
    replies = together(servers, token, path, 300)
    assert age(environment) < 60, "the window has closed in between: nothing can be said"
    assert Counter(reply.status for reply in replies) == {200: 100, 429: 200}

    before = age(environment)
    refused = servers[0].api(token).get(path)
    seconds = int(refused.headers["Retry-After"])
    assert ceil(60 - age(environment)) <= seconds <= ceil(60 - before)

    # A minute is long for a test: the window is moved to just before and just after its end.
    for ago, statuses in ((40, {429}), (60, {200})):
        open_window(environment, timedelta(seconds=ago))
        assert {server.api(token).get(path).status for server in servers} == statuses


def test_leases__never_admit_beyond_the_limit(servers: list[Gunicorn]) -> None:
    environment, token, player_id = limited_environment(Tier.GROWTH)
    path = f"{PLAYERS}/{player_id}"
    assert servers[0].api(token).get(path).status == 200
    open_window(environment, -timedelta(hours=1))  # it must not close while it is being filled
    replies = together(servers, token, path, 1_200)
    statuses = Counter(reply.status for reply in replies)
    assert set(statuses) == {200, 429}
    # Each process may hold a rest of its last lease, and none may go beyond. The first request
    # took one of ten, and the window that was moved left its rest behind.
    assert 1_000 - 10 - 4 * 10 <= statuses[200] <= 1_000 - 1


def test_events__are_counted_one_by_one_over_all_processes(servers: list[Gunicorn]) -> None:
    _, token, player_id = limited_environment(Tier.FREE)
    event = {"player_id": player_id, "event_name": "x"}
    first = servers[0].api(token).post(f"{EVENTS}/batch", {"events": [event] * 600})
    assert first.data["accepted"] == 600
    for server in servers[1:]:
        refused = server.api(token).post(EVENTS, event)
        assert refused.status == 429
        # Ten are paid for in each second that passes meanwhile.
        assert 30 <= int(refused.headers["Retry-After"]) <= 60


def test_enterprise__is_never_limited(servers: list[Gunicorn]) -> None:
    _, token, player_id = limited_environment(Tier.ENTERPRISE)
    replies = together(servers, token, f"{PLAYERS}/{player_id}", 400)
    assert Counter(reply.status for reply in replies) == {200: 400}


def test_tier_change__holds_on_the_next_request_of_every_process(servers: list[Gunicorn]) -> None:
    environment, token, player_id = limited_environment(Tier.GROWTH)
    path = f"{PLAYERS}/{player_id}"
    together(servers, token, path, 120)
    project_update(environment.project, tier=Tier.FREE, actor=ACTOR)
    assert {server.api(token).get(path).status for server in servers} == {429}
    project_update(environment.project, tier=Tier.ENTERPRISE, actor=ACTOR)
    assert {server.api(token).get(path).status for server in servers} == {200}
