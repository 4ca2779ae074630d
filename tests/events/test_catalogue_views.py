"""The catalogue, the page of an event name, and rejected events."""

import csv
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
from events.models import Event, EventFold, EventHour, EventMinute, EventName, RejectedEvent
from events.rollups import fold_until
from events.stats import Freshness, Span, freshness, series, unusual_names
from events.usage import users_of_events
from flags.engine.document import decode_document
from flags.services import flag_create
from ilara_admin.core.horizon import Horizon
from ilara_admin.models import AuditEntry, Environment, Role
from ilara_admin.web.chart_axes import time_labels
from players.models import Player
from segments.services import segment_create
from tests.api_client import EVENTS, Api
from tests.factories import ACTOR, make_environment
from tests.form_fields import fields_of
from tests.pages import HTMX, message_of, signed_in, text_of, url_of
from tests.zones import BEGIN, around, changes_of

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
    viewer.get(url)  # the first page of a session notes its use
    with django_assert_max_num_queries(11):
        html = text_of(viewer.get(url))
    assert ("name-49" in html, "name-50" in html) == (True, False)
    assert 'rel="next"' in html


def test_catalogue_csv__has_the_rows_of_the_search_in_the_order_of_the_list(
    viewer: Client, environment: Environment
) -> None:
    name_of(environment, "=level_up", count=5, owner="Economy", description="a, b")
    name_of(environment, "level_down", count=9)
    name_of(environment, "start")
    url = url_of(environment, "event_names_csv")
    rows = list(csv.DictReader(text_of(viewer.get(f"{url}?q=level&sort=-total")).splitlines()))
    assert [row["event"] for row in rows] == ["level_down", "'=level_up"]
    assert (rows[1]["owner"], rows[1]["description"], rows[1]["total"]) == ("Economy", "a, b", "5")


def test_catalogue__is_sorted_by_each_column_on_every_page(
    viewer: Client, environment: Environment
) -> None:
    now = timezone.now()
    for number in range(52):
        name = name_of(
            environment, f"n-{number:02}", count=number // 2,
            last_seen_at=now - timedelta(minutes=number),
        )  # fmt: skip
        if number % 3 == 0:
            EventHour.objects.create(
                environment=environment, event_name=name, start=hour_of(now), count=1 + number
            )
    url = url_of(environment, "event_names")
    for sort, first, last in (
        ("name", "n-00", "n-51"), ("-total", "n-51", "n-00"), ("-day", "n-51", "n-01"),
        ("day", "n-01", "n-51"), ("seen", "n-51", "n-00"), ("state", "n-00", "n-51"),
    ):  # fmt: skip
        page = viewer.get(f"{url}?sort={sort}")
        rows = page.context["page"].rows
        following = viewer.get(url + page.context["page"].next).context["page"].rows
        assert len({row.name for row in [*rows, *following]}) == 52
        assert (rows[0].name, following[-1].name) == (first, last), sort


# --- Unusual events -----------------------------------------------------------------------------


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def stopped_event(environment: Environment, **columns: Any) -> EventName:
    """An event with 40 an hour for ten days, none of them in the last three hours; all counted."""
    now = datetime.now(UTC)
    values = {
        "first_seen_at": now - timedelta(days=30),
        "last_seen_at": hour_of(now) - timedelta(hours=2, minutes=1),
        "count": 10_000,
    }
    name = name_of(environment, "purchase <b>", **{**values, **columns})
    EventHour.objects.bulk_create(
        EventHour(
            environment=environment, event_name=name, count=40,
            start=hour_of(now) - timedelta(hours=hours),
        )
        for hours in range(3, 240)
    )  # fmt: skip
    counted(environment, now)
    return name


def counted(environment: Environment, until: datetime) -> None:
    EventFold.objects.update_or_create(environment=environment, defaults={"counted_until": until})


def test_event_that_stopped__is_pointed_out_on_three_pages(
    viewer: Client, environment: Environment
) -> None:
    name = stopped_event(environment)
    name_of(environment, "a_start", count=10**6)
    sentence = "usually about 40 an hour at this time"
    for page, *arguments in (("event_names",), ("event_name", name.pk), ("overview",)):
        html = text_of(viewer.get(url_of(environment, page, *arguments)))
        assert (html.count(sentence), "stopped" in html, "purchase <b>" in html) == (
            1,
            True,
            False,
        ), page
    by_state = viewer.get(url_of(environment, "event_names") + "?sort=state").context["page"].rows
    assert [row.name for row in by_state] == ["purchase <b>", "a_start"]
    exported = text_of(viewer.get(url_of(environment, "event_names_csv") + "?sort=state"))
    assert ",stopped," in exported.splitlines()[1]


def test_surge__is_pointed_out(viewer: Client, environment: Environment) -> None:
    now = datetime.now(UTC)
    name = name_of(environment, count=500, first_seen_at=now - timedelta(days=30))
    last = hour_of(now) - timedelta(hours=1)
    EventHour.objects.create(environment=environment, event_name=name, start=last, count=480)
    counted(environment, now)
    html = text_of(viewer.get(url_of(environment, "event_name", name.pk)))
    assert "This event surged." in html
    assert "none in an hour at this time in the 7 days before" in html


def test_stopped_event__is_not_pointed_out_if_it_cannot_be_known(environment: Environment) -> None:
    """While counting is behind or has not begun, and where the counts to compare are deleted."""
    now = timezone.now()
    name = stopped_event(environment)

    def found() -> bool:
        return name.pk in unusual_names(environment, freshness(environment, now), now)

    assert found()
    environment.retention_days = 7
    assert not found()
    environment.retention_days = 90
    counted(environment, now - timedelta(minutes=3))
    assert not found()
    EventFold.objects.all().delete()
    assert not found()
    other = make_environment()
    assert unusual_names(other, Freshness(now, behind=False), now) == {}


# --- What uses an event -------------------------------------------------------------------------


def test_event__shows_the_rules_that_count_it(viewer: Client, environment: Environment) -> None:
    strange = 'he said "ü\\"'
    counts = {"event": strange, "operator": ">=", "value": 3, "within": "7d"}
    rule = {"operator": "AND", "conditions": [{"operator": "NOT", "conditions": [counts]}]}
    segment_create(environment=environment, key="speakers", name="", rule=rule, actor=ACTOR)
    document = {
        "value_type": "boolean",
        "variants": [{"key": "enabled", "value": True}, {"key": "disabled", "value": False}],
        "default": "disabled",
        "off": "disabled",
        "rules": [{"id": "r", "variant": "enabled", "conditions": rule}],
    }
    flag_create(
        environment=environment, key="by-event", document=decode_document(document), actor=ACTOR
    )
    mentioned = {"field": "country", "operator": "==", "value": strange}
    other = {"operator": "AND", "conditions": [mentioned]}
    segment_create(environment=environment, key="other", name="", rule=other, actor=ACTOR)
    name = name_of(environment, strange)
    name_of(environment, "unused")
    users = users_of_events(environment, [strange, "unused"])
    assert [user[:2] for user in users[strange]] == [
        ("segment", "segment_detail"), ("flag", "flag_detail"),
    ]  # fmt: skip
    assert [user.key for user in users[strange]] == ["speakers", "by-event"]
    assert users["unused"] == []
    html = text_of(viewer.get(url_of(environment, "event_name", name.pk)))
    assert url_of(environment, "segment_detail", "speakers") in html
    assert url_of(environment, "flag_detail", "by-event") in html
    listed = text_of(viewer.get(url_of(environment, "event_names")))
    assert ("speakers</a>" in listed, "not used" in listed) == (True, True)


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
    for span, bars in (("hour", 60), ("month", 30), ("quarter", 90), ("nonsense", 24)):
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
    for change in changes_of(ZoneInfo(zone))[-2:] or [BEGIN]:
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
    services.event_name_describe(name, {"description": "theirs"}, actor=ACTOR)
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


def test_owner__is_saved_and_found_and_undone_alone(
    live_ops: Client, environment: Environment
) -> None:
    name = name_of(environment)
    name_of(environment, "other")
    url = url_of(environment, "event_name_describe", name.pk)
    live_ops.post(url, {"description": "Opened.", "owner": "Economy team"})
    live_ops.post(url, {"description": "Opened.", "owner": "Growth <b>"})
    entry = AuditEntry.objects.filter(action="event_name.described")[0]
    assert (entry.before, entry.after) == ({"owner": "Economy team"}, {"owner": "Growth <b>"})
    found = text_of(live_ops.get(url_of(environment, "event_names") + "?q=growth"))
    assert ("Growth &lt;b&gt;" in found, "other" in found) == (True, False)
    live_ops.post(url_of(environment, "audit_undo", entry.pk))
    name.refresh_from_db()
    assert (name.description, name.owner) == ("Opened.", "Economy team")


def test_description_that_is_too_long__is_refused(
    live_ops: Client, environment: Environment
) -> None:
    name = name_of(environment)
    url = url_of(environment, "event_name_describe", name.pk)
    assert live_ops.post(url, {"description": "x" * 501}).status_code == 422
    with pytest.raises(ValidationError):
        services.event_name_describe(name, {"description": "x" * 501}, actor=ACTOR)


# --- Personal properties ------------------------------------------------------------------------


def test_personal_property__is_marked_masked_and_undone(
    environment: Environment, player: Player, public_api: Api
) -> None:
    send(public_api, player, "start", properties={"nick": "Zoe9", "age": 31, "a&b": "x"})
    name = EventName.objects.get()
    url = url_of(environment, "event_name", name.pk)
    viewer, support, admin = map(signed_in, (Role.VIEWER, Role.SUPPORT, Role.ADMIN))
    assert "Zoe9" in text_of(viewer.get(url))
    assert "Mark as" not in text_of(support.get(url))
    mark = url_of(environment, "event_property_personal", name.pk)
    assert signed_in(Role.LIVE_OPS).post(f"{mark}?property=nick").status_code == 403
    assert admin.get(f"{mark}?property=unknown").status_code == 404
    dialog = text_of(admin.get(f"{mark}?property=nick", headers=HTMX))
    assert "masked below the role support" in dialog
    for given in ("nick", "age", "nick", "a%26b"):  # the second time changes nothing
        assert admin.post(f"{mark}?property={given}").status_code == 302
    environment.refresh_from_db()
    assert environment.personal_properties == ["a&b", "age", "nick"]
    html = text_of(viewer.get(url))
    assert ("Zoe9" in html, "Z***" in html, ">31<" in html) == (False, True, False)
    assert "Zoe9" in text_of(support.get(url))
    admin.post(f"{mark}?property=nick&remove=1")
    assert "Zoe9" in text_of(viewer.get(url))
    entry = AuditEntry.objects.filter(action="environment.updated")[0]
    admin.post(url_of(environment, "audit_undo", entry.pk))
    assert "Zoe9" not in text_of(viewer.get(url))


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
