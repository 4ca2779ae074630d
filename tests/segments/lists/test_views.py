"""The pages of a segment's lists."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import DjangoAssertNumQueries

from ilara_admin.models import AuditEntry, Environment, Role
from segments.lists import forms, services
from segments.models import ListAction, ListState, Segment, SegmentListChange, SegmentMember
from segments.tasks import list_carry_out
from tests.factories import ACTOR, make_player
from tests.pages import text_of, tone_of, url_of
from tests.segments.lists.test_services import NOT_STOPPING, add, on

pytestmark = pytest.mark.django_db
KEY = "beta-testers"


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def segment(environment: Environment) -> Segment:
    segments = Segment.objects.select_related("environment__project")
    return segments.get(environment=environment, key=KEY)


def at(segment: Segment, name: str = "segment_lists", *more: object) -> str:
    return url_of(segment.environment, name, segment.key, *more)


def htmx(target: str, trigger: str = "") -> dict[str, str]:
    return {"HX-Request": "true", "HX-Target": target, "HX-Trigger": trigger}


def csv(text: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("vips.csv", text, "text/csv")


def undo_url(change: SegmentListChange) -> str:
    entry = services.entry_of(change)
    assert entry
    return url_of(change.segment.environment, "audit_undo", entry.pk)


def undo_of(response: Any) -> str:
    """The URL that the toast's Undo button posts to."""
    (message,) = get_messages(response.wsgi_request)
    return message.extra_tags


# --- Views ----------------------------------------------------------------------------------------


def test_page__shows_one_list_and_who_is_registered(client: Client, segment: Segment) -> None:
    player = make_player(segment.environment, "here")
    add(segment, "here", "later")
    add(segment, "out", excluded=True)
    text = text_of(client.get(at(segment)))
    assert f'href="{url_of(segment.environment, "player_detail", player.pk)}">here</a>' in text
    assert "later</span> <span" in text
    assert ">out<" not in text
    text = text_of(client.get(f"{at(segment)}?list=exclude"))
    assert ">out<" in text
    assert ">later<" not in text
    detail = text_of(client.get(url_of(segment.environment, "segment_detail", KEY)))
    assert "2 ids" in detail
    assert "1 id<" in detail


def test_search__matches_prefixes_on_every_page(client: Client, segment: Segment) -> None:
    add(segment, *(f"p_{number:03}" for number in range(60)), "P_1", "px1", "p%1")
    page: Any = client.get(f"{at(segment)}?q=p_0").context["page"]
    assert [member.external_id for member in page.rows] == [f"p_{n:03}" for n in range(50)]
    assert "q=p_0" in page.next
    page = client.get(at(segment) + page.next).context["page"]
    assert [member.external_id for member in page.rows] == [f"p_{n:03}" for n in range(50, 60)]


def test_search__uses_the_index_for_condition_and_order(segment: Segment) -> None:
    add(segment, "a")
    with connection.cursor() as cursor:
        # The plan for a long list, whatever the statistics of a nearly empty table say.
        for method in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{method} = off")
    for members in (
        SegmentMember.objects.starting_with(segment, "p_0", excluded=False),
        SegmentMember.objects.on(segment, excluded=False),
    ):
        plan = members.select_related("change")[:50].explain()
        assert "segment_member_list" in plan
        assert "Sort" not in plan
    plan = SegmentMember.objects.starting_with(segment, "p_0", excluded=False)[:50].explain()
    assert "'p_0'" in plan.partition("Index Cond:")[2].partition("\n")[0]


def test_page__runs_as_many_queries_for_50_rows_as_for_one(
    client: Client, segment: Segment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    add(segment, "a")
    client.get(at(segment))
    with django_assert_num_queries(7):
        client.get(at(segment))
    add(segment, *(f"b{number}" for number in range(60)))
    for number in range(9):
        add(segment, f"c{number}")
    with django_assert_num_queries(7):
        client.get(at(segment))


def test_viewer__sees_the_list_without_buttons(
    staff_client: Callable[..., Client], segment: Segment
) -> None:
    add(segment, "a")
    text = text_of(staff_client(Role.VIEWER).get(at(segment)))
    assert ">a<" in text
    assert "Remove a" not in text
    assert "Add ids" not in text
    assert "/undo/" not in text


# --- Changes --------------------------------------------------------------------------------------


def test_typed_ids__are_added_once_each(client: Client, segment: Segment) -> None:
    data = {"ids": " b \r\na\r\n\r\na\r\n", "reason": "asked for"}
    response = client.post(f"{at(segment, 'segment_ids_add')}?list=exclude", data)
    assert response["Location"] == f"{at(segment)}?list=exclude"
    assert tone_of(response) == "ok"
    assert on(segment, excluded=True) == ["a", "b"]
    assert AuditEntry.objects.order_by("-id")[0].reason == "asked for"
    client.post(undo_of(response))
    assert on(segment, excluded=True) == []


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("", "required"),
        (" \n ", "required"),
        ("a\n" + "x" * 256, "longer than 255"),
        ("\n".join(map(str, range(1_001))), "at most 1,000 external ids"),
        ("player_1\tx@example.com", "2 columns separated by tabs"),
        ('{"ids": ["a"]}', "JSON"),
    ],
)
def test_invalid_ids__are_refused_at_the_field(
    ids: str, message: str, client: Client, segment: Segment
) -> None:
    response = client.post(at(segment, "segment_ids_add"), {"ids": ids})
    assert response.status_code == 422
    assert message in text_of(response)
    assert on(segment) == []


def test_remove__removes_one_id_and_its_toast_undoes_it(client: Client, segment: Segment) -> None:
    add(segment, "a", "b")
    url = at(segment, "segment_ids_remove")
    response = client.post(url, {"id": "a"}, headers=htmx("results"))
    assert response["HX-Trigger"] == '{"list-changed": {}}'
    assert on(segment) == ["b"]
    removal = SegmentListChange.objects.get(action=ListAction.REMOVE)
    undo = undo_url(removal)
    assert undo in text_of(response)
    assert tone_of(client.post(undo)) == "ok"
    assert on(segment) == ["a", "b"]
    response = client.post(undo)
    assert response.status_code == 422
    assert on(segment) == ["a", "b"]
    response = client.post(url, {"id": "a"})
    assert response["Location"] == at(segment)


def test_small_file__is_imported_within_the_request(client: Client, segment: Segment) -> None:
    url = at(segment, "segment_lists_import")
    response = client.post(url, {"file": csv(b"external_id\na\nb\n\xff\n")})
    assert tone_of(response) == "ok"
    first = SegmentListChange.objects.get()
    assert (first.file_name, first.added, first.bad) == ("vips.csv", 2, 1)
    assert "Line 4 is not UTF-8" in text_of(client.get(at(segment)))
    response = client.post(url, {"file": csv(b"b\nc\n"), "replace": "on"})
    assert tone_of(response) == "ok"
    second = SegmentListChange.objects.exclude(pk=first.pk).get()
    assert (second.added, second.removed, second.lines) == (1, 1, 2)
    assert on(segment) == ["b", "c"]


def test_large_file__is_imported_by_the_worker_and_shows_progress(
    client: Client, segment: Segment
) -> None:
    data = b"".join(b"player_%05d\n" % number for number in range(12_000))
    response = client.post(at(segment, "segment_lists_import"), {"file": csv(data)})
    assert tone_of(response) == "info"
    job = ProcrastinateJob.objects.get(task_name="segments.tasks.list_carry_out")
    assert (text := text_of(client.get(at(segment)))).count('id="watch"') == 1
    assert "Waiting for the worker" in text
    assert '<meta http-equiv="refresh"' in text

    SegmentListChange.objects.update(attempt=1, done=60_000, added=5_000)
    watching = htmx("changes", "watch")
    text = text_of(client.get(at(segment), headers=watching))
    assert 'value="38"' in text
    assert "5,000 added so far" in text
    assert 'id="results"' not in text

    SegmentListChange.objects.update(attempt=0, added=0)
    list_carry_out(NOT_STOPPING, **job.args)
    text = text_of(client.get(at(segment), headers=watching))
    assert 'id="watch"' not in text
    assert "12,000 added" in text
    assert '<section class="stack" id="results"' in text, "the response includes the list"
    assert on(segment)[-1] == "player_11999"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "required"),
        ({"file": csv(b"")}, "empty"),
        ({"file": csv(b'""\n'), "replace": "on"}, "no external id"),
        ({"file": csv(b"x" * 1_001)}, "larger than 0 MiB"),
        ({"file": csv(b"external_id\n")}, "no external id"),
        ({"file": csv(b"%PDF-1.7\n")}, "PDF"),
        ({"file": csv(b"player_1;x@example.com\n")}, "2 columns separated by semicolons"),
    ],
)
def test_invalid_file__is_refused_at_the_field(
    data: dict[str, Any],
    message: str,
    client: Client,
    segment: Segment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forms, "MAX_UPLOAD_BYTES", 1_000)
    response = client.post(at(segment, "segment_lists_import"), data)
    assert response.status_code == 422
    assert message in text_of(response)
    assert on(segment) == []


def test_column_pasted_from_a_spreadsheet__is_added(client: Client, segment: Segment) -> None:
    data = {"ids": "Player ID\tLevel\r\n a\u00a0\t4\r\nb\t5\r\n"}
    client.post(at(segment, "segment_ids_add"), data)
    assert on(segment) == ["a", "b"]


def test_download__can_be_imported_again_and_is_audited(client: Client, segment: Segment) -> None:
    ids = ["plain", "=cmd|'x", "'=y", "'z", "\uff1d1", "-5", "+a", "a,b", 'q"r', "é"]
    add(segment, *ids)
    response = client.post(at(segment, "segment_lists_download"))
    data = response.getvalue()
    assert data.startswith(b"\xef\xbb\xbfexternal_id\r\n")
    assert b"\n'=cmd" in data
    assert b"\n-5\r" in data
    assert "beta-testers-include.csv" in response["Content-Disposition"]
    entry = AuditEntry.objects.order_by("-id")[0]
    assert (entry.action, entry.after) == (
        "segment.list_exported", {"list": "included", "rows": len(ids)},
    )  # fmt: skip
    assert "exported a list of the segment" in text_of(
        client.get(url_of(segment.environment, "audit_list"), {"show": "exports"})
    )
    client.post(f"{at(segment, 'segment_lists_import')}?list=exclude", {"file": csv(data)})
    assert on(segment, excluded=True) == on(segment) == sorted(ids)


def test_download__is_offered_for_a_list_with_ids(client: Client, segment: Segment) -> None:
    offer = "Download the include list"
    assert offer not in text_of(client.get(at(segment)))
    add(segment, "a")
    assert offer in text_of(client.get(at(segment), headers=htmx("results")))
    assert "Download the" not in text_of(client.get(f"{at(segment)}?list=exclude"))


def test_clear__requires_the_typed_key_and_can_be_undone(client: Client, segment: Segment) -> None:
    add(segment, *"abc")
    url = at(segment, "segment_lists_clear")
    text = text_of(client.get(url))
    assert "Removes 3 ids from the list" in text
    assert "new_tutorial" in text
    assert client.post(url, {"typed": "x"}).status_code == 422
    assert on(segment) == [*"abc"]
    response = client.post(url, {"typed": KEY, "reason": "over"})
    assert tone_of(response) == "ok"
    assert on(segment) == []
    client.post(undo_of(response))
    assert on(segment) == [*"abc"]


def test_deletion_of_a_segment__shows_its_lists_and_undo_restores_them(
    client: Client, environment: Environment
) -> None:
    rule = {"operator": "AND", "conditions": [{"field": "x", "operator": "==", "value": 1}]}
    made = Segment.objects.create(environment=environment, key="free", name="", rule=rule)
    add(made, *"abc")
    url = url_of(environment, "segment_delete", "free")
    assert "3 ids on its lists" in text_of(client.get(url))
    response = client.post(url, {"typed": "free"})
    client.post(undo_of(response))
    assert on(Segment.objects.get(key="free")) == [*"abc"]


def test_changes__say_how_they_ended(client: Client, segment: Segment) -> None:
    change = services.list_import(
        segment, excluded=True, actor=ACTOR, file_name="x.csv", reason="why"
    )
    services.list_give_up(change, "Its command ended half-way.")
    undone = services.list_undo(add(segment, "a"), actor=ACTOR)
    services.list_run(undone)
    text = text_of(client.get(at(segment)))
    assert "imported x.csv to the exclude list" in text
    assert "Stopped: Its command ended half-way." in text
    assert "undid: added 1 id to the include list" in text
    assert SegmentListChange.objects.get(pk=change.pk).state == ListState.STOPPED
    log = text_of(client.get(url_of(segment.environment, "audit_list")))
    assert f'href="{at(segment)}"' in log
