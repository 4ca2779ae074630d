"""The size of a segment over time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from ilara_admin.core.changes import undo
from ilara_admin.models import Environment, Role
from segments.models import Segment, SegmentSize
from segments.services import segment_delete, segment_update
from segments.size_history import KEPT_DAYS, STAYS, at_ends, size_note, sizes_thin_out
from segments.tasks import size_count
from tests.factories import ACTOR, make_player
from tests.pages import HTMX, text_of, url_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
NOTHING = timedelta()


@pytest.fixture
def segment(environment: Environment) -> Segment:
    return Segment.objects.get(environment=environment, key="beta-testers")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], [None] * 4),
        ([(0, 10)], [10, 10, None, None]),
        ([(23, 10), (24, 11), (47, 12), (95, 15)], [10, 12, 12, 15]),
        ([(-1, 7)], [7, None, None, None]),
        ([(-25, 7)], [None] * 4),
        ([(96, 7)], [None] * 4),
    ],
)
def test_day__has_its_last_count_or_one_of_the_day_before(
    counts: list[tuple[int, int]], expected: list[int | None]
) -> None:
    days = [MONDAY + number * DAY for number in range(5)]
    found = at_ends([(MONDAY + at * HOUR, size) for at, size in counts], days, stays=STAYS)
    assert found == expected


def test_hour__has_its_own_count_only() -> None:
    hours = [MONDAY + number * HOUR for number in range(4)]
    assert at_ends([(hours[0], 1), (hours[2], 3)], hours, stays=NOTHING) == [1, None, 3]


@pytest.mark.django_db
def test_count__is_stored_once_an_hour_and_not_for_an_older_rule(segment: Segment) -> None:
    make_player(segment.environment, attributes={"level": 50})
    for _ in range(2):
        Segment.objects.filter(pk=segment.pk).update(size_wanted_at=timezone.now())
        size_count(segment.pk)
    rows = SegmentSize.objects.filter(segment=segment)
    assert {(row.size, row.among) for row in rows} == {(1, 1)}
    assert all((row.hour.minute, row.hour.second) == (0, 0) for row in rows)
    size_note(segment.pk, MONDAY + 10 * timedelta(minutes=1), 4, 9)
    size_note(segment.pk, MONDAY + 50 * timedelta(minutes=1), 5, 9)
    assert rows.get(hour=MONDAY).size == 5


@pytest.mark.django_db
def test_old_counts__are_thinned_out_by_day_and_deleted(segment: Segment) -> None:
    now = MONDAY + 30 * DAY + 12 * HOUR
    for ago in (0, 1, 47, 50, 51, 52, 80, 24 * KEPT_DAYS - 1, 24 * KEPT_DAYS + 1):
        size_note(segment.pk, now - ago * HOUR, ago, 9_999)
    sizes_thin_out(now)
    sizes_thin_out(now)
    kept = SegmentSize.objects.filter(segment=segment).order_by("-hour")
    assert [row.size for row in kept] == [0, 1, 47, 80, 24 * KEPT_DAYS - 1]


@pytest.mark.django_db
def test_page__shows_the_sizes_by_day_and_by_hour_and_changes_of_the_rule(
    segment: Segment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.VIEWER)
    url = url_of(segment.environment, "segment_detail", segment.key)
    assert "No counts in this time." in text_of(client.get(url))
    now = timezone.now()
    size_note(segment.pk, now - 3 * DAY, 700, 9_999)
    size_note(segment.pk, now, 12_345, 99_999)
    rule = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 3}]}
    segment_update(segment, name="Renamed", rule=rule, description="", actor=ACTOR)
    html = text_of(client.get(url))
    assert html.count("<div data-hit") == KEPT_DAYS
    assert ("12,345 players" in html, "700 players" in html) == (True, True)
    assert "changed the rule" in html
    hours = text_of(client.get(f"{url}?sizes=hour", headers=HTMX))
    assert hours.count("<div data-hit") == 48
    assert ("12,345 players" in hours, "700 players" in hours) == (True, False)
    assert text_of(client.get(f"{url}?sizes=nonsense", headers=HTMX)).count("<div data-hit") == 90


@pytest.mark.django_db
def test_deleted_segment__has_its_sizes_again_after_undo(segment: Segment) -> None:
    environment = segment.environment
    rule = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 3}]}
    idle = Segment.objects.create(environment=environment, key="idle", name="Idle", rule=rule)
    size_note(idle.pk, MONDAY, 7, 9)
    entry = segment_delete(idle, actor=ACTOR)
    undo(entry, actor=ACTOR)
    back = Segment.objects.get(environment=environment, key="idle")
    assert SegmentSize.objects.filter(segment=back).get().size == 7
