"""Keyset pages: every row once and in order, forwards and backwards."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.db.models import Q, QuerySet, Value
from django.http import QueryDict
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from ilara_admin.models import ApiKey, AuditEntry, Project
from ilara_admin.web.pagination import KeysetPage

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def projects() -> QuerySet[Project]:
    """Eleven, four of them created at the same time."""
    minutes = [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7]
    Project.objects.bulk_create(
        Project(name=f"P{index}", slug=f"p-{index:02}", created_at=START + timedelta(minutes=each))
        for index, each in enumerate(minutes)
    )
    return Project.objects.all()


def page_of(queryset: QuerySet[Project], query: str = "", size: int = 3) -> KeysetPage[Project]:
    return KeysetPage.of(queryset, RequestFactory().get(f"/{query}"), size=size)


@pytest.mark.parametrize(
    "order",
    [
        ["id"],
        ["-id"],
        ["pk"],
        ["slug"],
        ["-slug"],
        ["created_at", "id"],
        ["-created_at", "-id"],
        ["-created_at", "id"],
        ["created_at", "-slug"],
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 10, 11, 12])
def test_paging_forwards_and_backwards__shows_every_row_once(
    projects: QuerySet[Project], order: list[str], size: int
) -> None:
    queryset = projects.order_by(*order)
    expected = list(queryset)
    pages = [page_of(queryset, size=size)]
    while pages[-1].next:
        pages.append(page_of(queryset, pages[-1].next, size))
    assert [row for page in pages for row in page.rows] == expected
    assert [bool(page.previous) for page in pages] == [False] + [True] * (len(pages) - 1)

    back = [pages[-1]]
    while back[-1].previous:
        back.append(page_of(queryset, back[-1].previous, size))
    assert [page.rows for page in back] == [page.rows for page in reversed(pages)]


def test_annotations_can_be_ordered_by(projects: QuerySet[Project]) -> None:
    queryset = projects.annotate(one=Value(1)).order_by("one", "id")
    second = page_of(queryset, page_of(queryset).next)
    assert second.rows == list(queryset)[3:6]


def test_filters_stay_in_the_url(projects: QuerySet[Project]) -> None:
    queryset = projects.filter(~Q(slug="p-05")).order_by("id")
    first = page_of(queryset, "?q=a%26b&tier=free&after=old&before=older")
    query = parse_qs(first.next.removeprefix("?"))
    assert query["q"] == ["a&b"]
    assert query["tier"] == ["free"]
    assert set(query) == {"q", "tier", "after"}


def test_no_count_and_one_query(
    projects: QuerySet[Project], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    queryset = projects.order_by("id")
    second = page_of(queryset).next
    with django_assert_num_queries(1) as captured:
        page_of(queryset, second)
    assert "COUNT" not in captured[0]["sql"]
    assert "OFFSET" not in captured[0]["sql"]


@pytest.mark.parametrize("cursor", ["x", "é", "a:b", "%00", "WyIxIl0", "WyIxIl0:bad", "a" * 9000])
@pytest.mark.parametrize("name", ["after", "before"])
def test_invalid_cursor__shows_the_first_page(
    projects: QuerySet[Project], cursor: str, name: str
) -> None:
    queryset = projects.order_by("id")
    assert page_of(queryset, f"?{name}={cursor}").rows == list(queryset)[:3]


def test_cursor_of_another_order__shows_the_first_page(projects: QuerySet[Project]) -> None:
    by_slug = page_of(projects.order_by("slug")).next
    queryset = projects.order_by("-id")
    assert page_of(queryset, by_slug).rows == list(queryset)[:3]


def test_rows_after_the_cursor_are_deleted__links_to_the_first_page(
    projects: QuerySet[Project],
) -> None:
    queryset = projects.order_by("id")
    first = page_of(queryset, "?q=x")
    projects.filter(pk__gt=first.rows[-1].pk).delete()
    empty = page_of(queryset, first.next)
    assert empty.rows == []
    assert empty.next == ""
    assert QueryDict(empty.previous.removeprefix("?")).dict() == {"q": "x"}


def test_rows_before_the_cursor_are_deleted__shows_a_full_first_page(
    projects: QuerySet[Project],
) -> None:
    queryset = projects.order_by("id")
    second = page_of(queryset, page_of(queryset).next)
    projects.filter(pk=queryset[0].pk).delete()
    page = page_of(queryset, second.previous)
    assert page.rows == list(queryset)[:3]
    assert page.previous == ""


def test_one_page__needs_no_pager(projects: QuerySet[Project]) -> None:
    assert page_of(projects.order_by("id"), size=50).is_only
    assert not page_of(projects.order_by("id")).is_only


def test_default_order_of_the_model_is_used() -> None:
    AuditEntry.objects.bulk_create(AuditEntry(object_name=str(each)) for each in range(3))
    page = KeysetPage.of(AuditEntry.objects.all(), RequestFactory().get("/"), size=2)
    assert [row.object_name for row in page.rows] == ["2", "1"]


@pytest.mark.parametrize(
    "queryset",
    [
        Project.objects.order_by("?"),
        Project.objects.order_by("created_at", "name", "id"),
        ApiKey.objects.order_by("environment__slug", "id"),
        ApiKey.objects.order_by("last_used_at", "id"),  # nullable: rows would be lost
    ],
)
def test_unsupported_orders__are_refused(queryset: QuerySet[Any]) -> None:
    with pytest.raises(ValueError, match="keyset page"):
        KeysetPage.of(queryset, RequestFactory().get("/"))
