"""The overview: figures, chart, recent changes, setup steps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events import stats
from events.models import Event, EventName
from events.rollups import fold_until
from events.stats import arrivals, last_minute
from flags.models import Flag
from flags.services import flag_set_enabled
from ilara_admin.core.api_keys import api_key_create
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import ApiKey, Environment, Role
from players.models import Player
from tests.api_client import EVENTS, PLAYERS, Api
from tests.factories import ACTOR, make_environment, make_key, make_player

type SignIn = Callable[..., Client]
HALF = timedelta(seconds=30)


def at(environment: Environment) -> str:
    return f"/{environment.project.slug}/{environment.slug}/"


def page(client: Client, environment: Environment) -> str:
    response = client.get(at(environment))
    assert response.status_code == 200
    return response.content.decode()


def figures(html: str) -> list[str]:
    stats = html.partition('<dl class="stats">')[2].partition("</dl>")[0]
    return [part.partition("</dd>")[0] for part in stats.split("<dd>")[1:]]


@pytest.fixture
def viewer(staff_client: SignIn) -> Client:
    return staff_client(Role.VIEWER)


def test_figures__count_today_and_yesterday_in_this_environment(
    viewer: Client, environment: Environment, player: Player, public_api: Api, secret_api: Api
) -> None:
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    make_player(environment, "gone", last_seen_at=two_days_ago)
    make_player(environment, "regular", first_seen_at=two_days_ago)
    make_player(make_environment(), "stranger")
    for amount in ("4.99", "1"):
        public_api.post(f"{PLAYERS}/{player.pk}/purchase?amount={amount}")
    public_api.post(f"{PLAYERS}/{player.pk}/purchase", {"amount": 50, "currency": "EUR"})
    secret_api.post(f"{PLAYERS}/{player.pk}/purchase?amount=2")
    for _ in range(3):
        public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "start"})
    fold_until(Horizon(2**62, datetime.now(UTC) + timedelta(minutes=1)))
    assert figures(page(viewer, environment)) == [
        *("2", "1 new", "0 yesterday"),
        *("7", "7 in 24 h"),  # including four purchases
        *("7.99 USD", "5.99 USD not verified", "1 payer", "0.00 USD yesterday"),
        *("1", "of 2 flags"),
    ]


def test_chart__has_a_bar_for_each_of_24_hours(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "start"})
    fold_until(Horizon(2**62, datetime.now(UTC)))
    html = page(viewer, environment)
    assert html.count("<div data-hit") == 24
    (received_at,) = Event.objects.of(environment).values_list("received_at", flat=True)
    assert f'{received_at:%H}:00\n1 event">' in html


def test_arrivals__are_counted_by_hour_in_the_users_time_zone(
    environment: Environment, player: Player, public_api: Api
) -> None:
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "start"})
    (received_at,) = Event.objects.of(environment).values_list("received_at", flat=True)
    now = received_at + timedelta(seconds=90)
    assert arrivals(environment, now).fresh.counted_until is None
    fold_until(Horizon(2**62, now))
    with timezone.override("Asia/Kolkata"):  # UTC+5:30
        found = arrivals(environment, now)
    assert (found.last_day, len(found.hours), found.fresh.counted_until) == (1, 24, now)
    ((hour, number),) = [each for each in found.hours if each[1]]
    assert (number, hour.minute) == (1, 30)
    assert hour <= received_at < hour + timedelta(hours=1)
    assert arrivals(environment, received_at + timedelta(hours=25)).last_day == 0
    assert arrivals(make_environment(), now).last_day == 0
    late = [arrivals(environment, now + seconds).fresh.behind for seconds in (HALF, 5 * HALF)]
    assert late == [False, True]


def test_events__are_counted_as_soon_as_they_arrive(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    event = {"player_id": str(player.pk), "event_name": "start"}
    for sent, folded in ((30, False), (60, True), (90, False)):
        public_api.post(f"{EVENTS}/batch", {"events": [event] * 30})
        if folded:
            fold_until(Horizon(Event.objects.latest("id").id, datetime.now(UTC)))
        html = page(viewer, environment)
        assert figures(html)[3:5] == [f"{sent}", f"{sent} in 24 h"]
        assert f'\n{sent} events">' in html


def test_last_minute__is_the_last_60_seconds(
    environment: Environment, player: Player, public_api: Api
) -> None:
    for name in ("start", "end", "start"):
        public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": name})
    first, *_, last = Event.objects.order_by("id").values_list("received_at", flat=True)
    assert last_minute(environment, last + 2 * HALF - timedelta(microseconds=1)) >= 1
    assert last_minute(environment, first + 2 * HALF - timedelta(microseconds=1)) == 3
    assert last_minute(environment, last + 2 * HALF) == 0
    fold_until(Horizon(2**62, last))
    start = EventName.objects.get(environment=environment, name="start")
    assert last_minute(environment, last, start) == 2
    assert last_minute(make_environment(), last) == 0


def test_last_minute_with_too_many_events__is_the_last_complete_one(
    environment: Environment, player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,200 events, one every tenth of a second: 600 a minute, of which 100 are read."""
    monkeypatch.setattr(stats, "NEWEST_EVENTS", (10, 100))
    now = timezone.now().replace(second=30, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(INSERT_TENTHS, [now - timedelta(minutes=2), environment.pk])
    assert last_minute(environment, now) == 600
    fold_until(Horizon(2**62, now))
    assert last_minute(environment, now) == 600


INSERT_TENTHS = """
INSERT INTO event (player_id, received_at, environment_id, event_id, name, properties, occurred_at)
SELECT gen_random_uuid(), %s::timestamptz + n * interval '0.1 s', %s, n::text, 'x', '{}', now()
FROM generate_series(1, 1200) n"""


def test_last_changes__are_ten_sentences(viewer: Client, environment: Environment) -> None:
    flag = Flag.objects.get(environment=environment, key="new-feature")
    for enabled in (True, False) * 6:
        flag_set_enabled(flag, enabled, actor=ACTOR, reason="A <b>test</b>")
    html = page(viewer, environment)
    feed = html.partition('id="changes-title"')[2]
    assert feed.count("<li>") == 10
    assert "turned off the flag" in feed
    assert "A &lt;b&gt;test&lt;/b&gt;" in feed


def test_overview__needs_as_many_queries_for_50_rows_as_for_one(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(viewer, environment)
        return len(captured)

    event = {"player_id": str(player.pk), "event_name": "start"}
    public_api.post(EVENTS, event)
    page(viewer, environment)
    one = queries()
    public_api.post(f"{EVENTS}/batch", {"events": [event] * 50})
    for number in range(50):
        make_key(environment)
        make_player(environment, f"p{number}")
    page(viewer, environment)  # reads the snapshot again, which the keys changed
    assert queries() == one


# --- Setup steps --------------------------------------------------------------------------------


def steps_done(html: str) -> list[bool]:
    steps = html.partition('<ol class="steps"')[2].partition("</ol>")[0]
    return [part.startswith(" data-done") for part in steps.split("<li")[1:]]


def test_setup_steps__show_progress_until_an_event_arrives(
    viewer: Client, environment: Environment
) -> None:
    assert steps_done(page(viewer, environment)) == [False, False, False, True]
    key = api_key_create(environment=environment, kind="public", name="iOS", actor=ACTOR)  # type: ignore[arg-type]
    html = page(viewer, environment)
    assert "No key has been used yet" in html
    assert "http://testserver/v1/players/players" in html
    assert f"X-API-Key: {key.key.prefix}…" in html
    assert key.token not in html

    ApiKey.objects.filter(pk=key.key.pk).update(last_used_at=timezone.now())
    api = Api(key.token)
    player = api.register("<i>pia")
    html = page(viewer, environment)
    assert steps_done(html) == [True, True, False, True]
    assert player["id"] in html

    api.post(EVENTS, {"player_id": player["id"], "event_name": "start"})
    assert steps_done(page(viewer, environment)) == []


def test_last_event_long_ago__shows_no_setup_steps(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "start"})
    Event.objects.of(environment).update(received_at=timezone.now() - timedelta(days=5))
    html = page(viewer, environment)
    assert steps_done(html) == []
    assert "No events in the last 24 hours." in html
