"""The catalogue, the page of an event name, and rejected events."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone

from events import services
from events.models import Event, EventHour, EventMinute, EventName, RejectedEvent
from events.rollups import Horizon, fold_until
from events.stats import Span, series
from ilara_admin.models import AuditEntry, Environment, Role
from ilara_admin.web.chart_axes import time_labels
from players.models import Player
from tests.api_client import EVENTS, Api
from tests.factories import ACTOR, make_environment
from tests.form_fields import fields_of
from tests.pages import HTMX, message_of, signed_in, text_of, url_of
from tests.zones import BEGIN, around, clock_changes

QUARTER = timedelta(minutes=15)

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Client:
    return signed_in(Role.VIEWER)


@pytest.fixture
def live_ops() -> Client:
    return signed_in(Role.LIVE_OPS)


def send(api: Api, player: Player, *names: str, **fields: Any) -> None:
    body = [{"player_id": str(player.pk), "event_name": name, **fields} for name in names]
    assert api.post(f"{EVENTS}/batch", {"events": body}).status == 200
    fold_until(Horizon(Event.objects.latest("id").id, datetime.now(UTC)))


def name_of(environment: Environment, name: str = "start", **columns: Any) -> EventName:
    now = timezone.now()
    defaults = {"first_seen_at": now, "last_seen_at": now, "count": 1}
    return EventName.objects.create(environment=environment, name=name, **{**defaults, **columns})


# --- The catalogue ------------------------------------------------------------------------------


def test_catalogue__lists_names_with_counts(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    assert "No events yet" in text_of(viewer.get(url_of(environment, "event_names")))
    send(public_api, player, "start", "start", "purchase <b>")
    html = text_of(viewer.get(url_of(environment, "event_names")))
    assert html.index("purchase &lt;b&gt;") < html.index(">start</a>")
    assert "2 events in total, 2 at the highest" in html
    assert "Counted" in html


def test_catalogue_search__matches_part_of_a_name(viewer: Client, environment: Environment) -> None:
    for name in ("level_up", "level_down", "start"):
        name_of(environment, name)
    name_of(make_environment(), "level_elsewhere")
    url = url_of(environment, "event_names")
    html = text_of(viewer.get(f"{url}?q=LEVEL", headers=HTMX))
    assert ("level_up" in html, "start" in html, "elsewhere" in html) == (True, False, False)
    assert "2 names" in html
    assert "No names match" in text_of(viewer.get(f"{url}?q=zzz"))


def test_catalogue__is_paginated_with_a_bounded_number_of_queries(
    viewer: Client, environment: Environment, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        name_of(environment, f"name-{number:02}")
    url = url_of(environment, "event_names")
    with django_assert_max_num_queries(10):
        html = text_of(viewer.get(url))
    assert ("name-49" in html, "name-50" in html) == (True, False)
    assert 'rel="next"' in html


# --- One name -----------------------------------------------------------------------------------


def test_name__shows_counts_and_properties(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    send(public_api, player, "start", properties={"level": 5})
    send(public_api, player, "start", properties={"level": "<i>"})
    name = EventName.objects.get()
    html = text_of(viewer.get(url_of(environment, "event_name", name.pk)))
    assert html.count("50 %") == 2
    assert "&lt;i&gt;" in html
    assert html.count("<div data-hit") == 24
    assert "Describe" not in html
    for span, bars in (("hour", 60), ("month", 30), ("nonsense", 24)):
        url = url_of(environment, "event_name", name.pk)
        html = text_of(viewer.get(f"{url}?span={span}", headers=HTMX))
        assert html.count("<div data-hit") == bars


def test_name_of_another_environment__is_not_found(
    viewer: Client, environment: Environment
) -> None:
    name = name_of(make_environment())
    assert viewer.get(url_of(environment, "event_name", name.pk)).status_code == 404


def test_series__has_every_bucket_of_its_span(environment: Environment) -> None:
    """Berlin set its clocks back on 25 October 2026, so that day has 25 hours."""
    name = name_of(environment)
    now = datetime(2026, 10, 25, 12, 30, tzinfo=UTC)
    for hours in range(40):
        start = datetime(2026, 10, 25, 12, tzinfo=UTC) - timedelta(hours=hours)
        EventHour.objects.create(environment=environment, event_name=name, start=start, count=1)
    EventMinute.objects.create(
        environment=environment, event_name=name, start=now - timedelta(minutes=59), count=7
    )
    with timezone.override("Europe/Berlin"):
        hours_found = series(environment, Span.DAY, now)
        days = series(environment, Span.MONTH, now)
        minutes = series(environment, Span.HOUR, now, name)
    assert [count for _, count in hours_found] == [1] * 24
    assert hours_found[-1][0].hour == 13
    assert [count for _, count in days][-3:] == [1, 24, 15]
    assert (len(days), days[-1][0].isoformat()) == (30, "2026-10-25T00:00:00+02:00")
    assert [count for _, count in minutes] == [7] + [0] * 59
    assert series(make_environment(), Span.DAY, now)[0][1] == 0


@pytest.mark.parametrize(
    "zone",
    [
        "America/Havana", "America/Santiago", "Africa/Cairo", "Asia/Beirut", "America/Scoresbysund",
        "Australia/Lord_Howe", "Europe/Berlin", "Asia/Kolkata", "Pacific/Chatham",
    ],
)  # fmt: skip
def test_days__count_each_event_once(environment: Environment, player: Player, zone: str) -> None:
    """An event in each half hour around a change of clocks, half of them counted by the job."""
    name = name_of(environment, count=0)
    for change in clock_changes()[ZoneInfo(zone)][-2:] or [BEGIN]:
        Event.objects.of(environment).delete()
        EventHour.objects.all().delete()
        times = [moment + QUARTER for moment in around(change, 60)]
        store_at(environment, times)
        middle = Event.objects.of(environment).order_by("id")[len(times) // 2].id
        fold_until(Horizon(middle, timezone.now()))
        local = Counter(moment.astimezone(ZoneInfo(zone)).date() for moment in times)
        with timezone.override(zone):
            for days in (2, 30):
                found = series(environment, Span.MONTH, change + timedelta(days=days), name)
                expected = [(start.date(), local.get(start.date(), 0)) for start, _ in found]
                assert [(start.date(), count) for start, count in found] == expected
                assert found == series(environment, Span.MONTH, change + timedelta(days=days))
            found = series(environment, Span.MONTH, change + timedelta(days=5))
            assert sum(count for _, count in found) == len(times)
            hours = series(environment, Span.DAY, change + timedelta(hours=12))
            assert sum(count for _, count in hours) == 48
            labels = time_labels([start for start, _ in hours])
            assert len(set(labels)) == 24


def store_at(environment: Environment, times: list[datetime]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               SELECT gen_random_uuid(), at, %s, at::text, 'start', '{}', at
               FROM unnest(%s::timestamptz[]) at""",
            [environment.pk, times],
        )


# --- Descriptions -------------------------------------------------------------------------------


def test_description__is_saved_audited_and_undone(
    live_ops: Client, environment: Environment
) -> None:
    name = name_of(environment)
    environment.refresh_from_db()
    version = environment.config_version
    url = url_of(environment, "event_name_describe", name.pk)
    response = live_ops.post(url, {"description": "  The game was opened. "})
    assert response.status_code == 302
    assert "The game was opened." in text_of(live_ops.get(response["Location"]))
    entry = AuditEntry.objects.filter(action="event_name.described").get()
    assert (entry.object_name, entry.after) == ("start", {"description": "The game was opened."})
    audit = text_of(live_ops.get(url_of(environment, "audit_list") + "?object=event_name:start"))
    assert "described the event" in audit
    assert message_of(live_ops.post(url, {"description": "The game was opened."})) == (
        "Nothing was changed."
    )

    undo = url_of(environment, "audit_undo", entry.pk)
    assert "Undone" in message_of(live_ops.post(undo))
    name.refresh_from_db()
    environment.refresh_from_db()
    assert (name.description, environment.config_version) == ("", version)


def test_description_that_someone_else_changed__is_a_conflict(
    live_ops: Client, environment: Environment
) -> None:
    name = name_of(environment)
    url = url_of(environment, "event_name_describe", name.pk)
    seen = live_ops.get(url).context["page"].form["seen"].value()
    services.event_name_describe(name, "theirs", actor=ACTOR)
    data = {"description": "mine", "seen": seen}
    assert live_ops.post(url, data, headers=HTMX).status_code == 422
    refused = live_ops.post(url, data)
    assert refused.status_code == 409
    assert "theirs" in text_of(refused)
    again = fields_of(text_of(refused), "conflict")
    reviewed = live_ops.post(url, {**again, "review": "1"})
    assert reviewed.status_code == 200
    assert "mine" in text_of(reviewed)
    name.refresh_from_db()
    assert name.description == "theirs"
    assert live_ops.post(url, again).status_code == 302
    name.refresh_from_db()
    assert name.description == "mine"


def test_description_that_is_too_long__is_refused(
    live_ops: Client, environment: Environment
) -> None:
    name = name_of(environment)
    url = url_of(environment, "event_name_describe", name.pk)
    assert live_ops.post(url, {"description": "x" * 501}).status_code == 422
    with pytest.raises(ValidationError):
        services.event_name_describe(name, "x" * 501, actor=ACTOR)


# --- Rejected events ----------------------------------------------------------------------------


def test_rejected_events__are_listed_with_their_reason_newest_first(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    url = url_of(environment, "event_rejected")
    assert "Nothing was rejected" in text_of(viewer.get(url))
    public_api.post(EVENTS, {"player_id": "<b>", "event_name": "start"})
    public_api.post(EVENTS, {"player_id": str(player.pk), "event_name": "ilara.x"})
    html = text_of(viewer.get(url))
    assert html.index("are reserved") < html.index("Invalid player_id format")
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    filtered = text_of(viewer.get(f"{url}?name=start", headers=HTMX))
    assert ("reserved" in filtered, "Invalid player_id" in filtered) == (False, True)
    elsewhere = url_of(make_environment(), "event_rejected")
    assert "Nothing was rejected" in text_of(viewer.get(elsewhere))


def test_long_payload__is_marked_as_truncated(
    viewer: Client, environment: Environment, player: Player, public_api: Api
) -> None:
    bad = {"player_id": str(player.pk), "event_name": "", "properties": {"x": "y" * 9_000}}
    public_api.post(EVENTS, bad)
    assert "Truncated." in text_of(viewer.get(url_of(environment, "event_rejected")))


def test_rejected_events__are_paginated(viewer: Client, environment: Environment) -> None:
    for number in range(60):
        RejectedEvent.objects.create(
            environment=environment, received_at=timezone.now(), event_name=f"e-{number}",
            code="VALIDATION_ERROR", message="bad", payload="{}",
        )  # fmt: skip
    html = text_of(viewer.get(url_of(environment, "event_rejected")))
    assert ("e-59" in html, ">e-9<" in html) == (True, False)
