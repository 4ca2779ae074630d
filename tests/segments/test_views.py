"""The segment pages, except for the editor."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.db.models import JSONField, Value
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import DjangoAssertNumQueries

from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from ilara_admin.templatetags.ilara import ABSENT
from players.models import Player
from segments import sizes
from segments.language.parser import segments_named
from segments.models import Segment
from segments.services import segment_create
from segments.usage import users_of, users_of_segments
from tests.factories import ACTOR, make_player
from tests.form_fields import fields_of
from tests.pages import HTMX, squeezed, url_of

pytestmark = pytest.mark.django_db
RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 3}]}


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def at(environment: Environment, path: str = "") -> str:
    return f"/{environment.project.slug}/{environment.slug}/segments/{path}"


def test_list__shows_rules_as_sentences_and_where_they_are_used(
    client: Client, environment: Environment
) -> None:
    text = client.get(at(environment)).content.decode()
    assert "level is at least 40 or is_vip is true" in text
    assert "new_tutorial</a>" in text


def test_list__runs_as_many_queries_for_50_rows_as_for_one(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get(at(environment))
    with django_assert_num_queries(8):
        client.get(at(environment))
    for number in range(49):
        segment_create(environment=environment, key=f"s-{number}", name="", rule=RULE, actor=ACTOR)
    with django_assert_num_queries(8):
        client.get(at(environment))


def test_list__is_sorted_by_size_and_last_change_on_every_page(
    client: Client, environment: Environment
) -> None:
    now = datetime.now(UTC)
    Segment.objects.filter(environment=environment).delete()
    Segment.objects.bulk_create(
        Segment(
            environment=environment, key=f"s-{number:02}", rule=RULE,
            size=number if number % 2 else None, updated_at=now - timedelta(minutes=number),
        )
        for number in range(60)
    )  # fmt: skip
    for sort, first, last in (
        ("-size", "s-59", "s-00"), ("size", "s-00", "s-59"), ("-changed", "s-00", "s-59"),
    ):  # fmt: skip
        page = client.get(f"{at(environment)}?sort={sort}").context["page"]
        following = client.get(at(environment) + page.next).context["page"].rows
        assert (page.rows[0].key, following[-1].key) == (first, last)
        assert len({row.key for row in [*page.rows, *following]}) == 60


def test_delete__requires_the_typed_key_and_no_flag_that_uses_it(
    client: Client, environment: Environment
) -> None:
    dialog = client.get(at(environment, "beta-testers/delete/")).content.decode()
    assert "Change these first" in dialog
    assert f'{url_of(environment, "flag_detail", "new_tutorial")}">new_tutorial</a>' in dialog
    assert 'name="typed"' not in dialog
    used = client.post(at(environment, "beta-testers/delete/"), {"typed": "beta-testers"})
    assert used.status_code == 422
    assert "new_tutorial" in used.content.decode()
    segment_create(environment=environment, key="idle", name="", rule=RULE, actor=ACTOR)
    assert client.post(at(environment, "idle/delete/"), {"typed": "idl"}).status_code == 422
    assert client.post(at(environment, "idle/delete/"), {"typed": "idle"}).status_code == 302
    assert not Segment.objects.filter(environment=environment, key="idle").exists()
    entry = AuditEntry.objects.get(action=AuditAction.SEGMENT_DELETED, environment=environment)
    assert (entry.before or {})["rule"] == RULE


def undo_of(response: Any) -> str:
    return str(list(get_messages(response.wsgi_request))[-1].extra_tags)


def test_undo__restores_the_old_rule_unless_it_has_changed_since(
    client: Client, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    before = segment.rule
    url = at(environment, "beta-testers/edit/")
    form = fields_of(client.get(url).content.decode(), "editor")
    first = undo_of(client.post(url, {**form, "rule-0-value": "9", "base": ""}))
    second = undo_of(client.post(url, {**form, "rule-0-value": "10", "base": ""}))
    refused = client.post(first)
    assert refused.status_code == 409
    assert "What they changed" in refused.content.decode()
    client.post(second)
    client.post(first)
    segment.refresh_from_db()
    assert (segment.rule, segment.name) == (before, "Beta testers")


def test_undo__restores_a_deleted_segment(client: Client, environment: Environment) -> None:
    segment_create(environment=environment, key="idle", name="Idle", rule=RULE, actor=ACTOR)
    undo = undo_of(client.post(at(environment, "idle/delete/"), {"typed": "idle"}))
    assert client.post(undo).status_code == 302
    back = Segment.objects.get(environment=environment, key="idle")
    assert (back.name, back.rule) == ("Idle", RULE)
    assert client.post(undo).status_code == 409


def test_search_with_nul__ignores_it(client: Client, environment: Environment) -> None:
    assert client.get(f"{at(environment)}?q=beta%00").status_code == 200


# --- Sizes --------------------------------------------------------------------------------------


def sized(environment: Environment, **columns: Any) -> Segment:
    """The segment with only these columns set. A timedelta means that long ago."""
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    values: dict[str, Any] = {
        "size": None,
        "sized_among": None,
        "sized_at": None,
        "size_wanted_at": None,
    }
    for name, value in columns.items():
        values[name] = datetime.now(UTC) - value if isinstance(value, timedelta) else value
    Segment.objects.filter(pk=segment.pk).update(**values)
    return segment


NOW, MINUTE = timedelta(), timedelta(minutes=1)  # ago
COUNTED = {"size": 12_345, "sized_among": 587_857, "sized_at": 3 * MINUTE}
LONG_AGO = {"size_wanted_at": 2 * MINUTE}


@pytest.mark.parametrize(
    ("columns", "detail", "row"),
    [
        ({}, "Not counted yet.", f">{ABSENT}<"),
        (COUNTED, "12,345 players</strong></a> (2.1 %)", ">12,345<"),
        (COUNTED, "3 min ago", ">12,345<"),
        ({"size": 0, "sized_among": 0, "sized_at": NOW}, "0 players", ">0<"),
        ({"size_wanted_at": NOW}, "counting…", ">counting…<"),
        ({**COUNTED, "size_wanted_at": NOW}, "counting…", ">12,345<"),
        (LONG_AGO, "still waiting; is the worker running?", ">counting…<"),
    ],
)
def test_size__is_shown_with_its_time_or_the_reason_it_is_missing(
    client: Client, environment: Environment, columns: dict[str, Any], detail: str, row: str
) -> None:
    sized(environment, **columns)
    assert detail in detail_of(client, environment)
    assert row in squeezed(client.get(at(environment)).content.decode())


def test_estimate__is_shown_until_the_size_is_known(
    client: Client, environment: Environment
) -> None:
    make_player(environment, attributes={"level": 50})
    sized(environment)
    assert "<strong>1</strong> of 1 player match" in detail_of(client, environment)
    sized(environment, **COUNTED)
    assert "of 1 player match" not in detail_of(client, environment)
    assert "player_123" in detail_of(client, environment)


def detail_of(client: Client, environment: Environment) -> str:
    html = client.get(at(environment, "beta-testers/")).content.decode()
    return " ".join(squeezed(html).split())


def test_polling__gets_204_until_the_size_changes(client: Client, environment: Environment) -> None:
    url = at(environment, "beta-testers/size/")

    def poll(query: str = "") -> int:
        return client.get(url + query, headers=HTMX).status_code

    sized(environment, size_wanted_at=NOW)
    assert poll() == 204
    sized(environment, **LONG_AGO)
    assert (poll(), poll("?late")) == (200, 204)
    sized(environment, **COUNTED)
    text = client.get(url, headers=HTMX).content.decode()
    assert "12,345 players" in text
    assert "hx-trigger" not in text  # polling stops
    assert client.get(url).status_code == 302  # opened without htmx


def test_count_now__queues_a_job(
    client: Client, staff_client: Callable[..., Client], environment: Environment
) -> None:
    segment = sized(environment)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")  # of the new environment
    assert client.post(at(environment, "beta-testers/count/")).status_code == 302
    assert jobs_of(segment) == 1
    text = client.post(at(environment, "beta-testers/count/"), headers=HTMX).content.decode()
    assert "counting…" in text
    assert jobs_of(segment) == 1
    sized(environment)
    assert "Count now" in detail_of(client, environment)
    assert "Count now" not in detail_of(staff_client(Role.VIEWER), environment)


def jobs_of(segment: Segment) -> int:
    jobs = ProcrastinateJob.objects.filter(task_name="segments.tasks.size_count")
    return jobs.filter(args__segment_id=segment.pk).count()


# --- Members ------------------------------------------------------------------------------------


def test_members__are_paginated_and_hide_email(client: Client, environment: Environment) -> None:
    for number in range(60):
        make_player(
            environment, f"in-{number}", email=f"{number}@example.com", attributes={"level": 41},
            purchase_count=1, total_revenue=Decimal("1234.5"),
        )  # fmt: skip
        make_player(environment, f"out-{number}", attributes={"level": 1})
    url = at(environment, "beta-testers/members/")
    found: list[str] = []
    pages = 0
    while url:
        text = client.get(url).content.decode()
        assert "@example.com" not in text
        found += re.findall(r">((?:in|out)-\d+)</a>", text)
        after = re.search(r'href="([^"]*\?after=[^"]*)"', text)
        url = after[1] if after else ""
        pages += 1
    assert sorted(found) == sorted(f"in-{number}" for number in range(60))
    assert pages == 2
    assert "1,234.50" in text
    assert "New" in text


def test_member_page_that_ends_early__offers_to_continue(
    client: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "CHUNK_SIZE", 5)
    monkeypatch.setattr(sizes, "SEARCH_SECONDS", 0.0)
    players = [make_player(environment, f"p-{number}") for number in range(33)]
    last = max(players, key=lambda player: player.id)
    Player.objects.filter(pk=last.pk).update(attributes={"level": 99})
    url, pages = at(environment, "beta-testers/members/"), 0
    while "Continue" in (text := client.get(url).content.decode()):
        assert "No matches so far" in text
        url = re.findall(r'href="([^"]*\?after=[^"]*)"', text)[0]
        pages += 1
    assert pages > 2
    assert last.external_id in text


def test_members_with_an_invalid_cursor__start_at_the_beginning(
    client: Client, environment: Environment
) -> None:
    text = client.get(at(environment, "beta-testers/members/?after=x%00")).content.decode()
    assert "No members" in text


@pytest.mark.parametrize("rows", [1, 40])
def test_members__run_as_many_queries_for_40_rows_as_for_one(
    client: Client, environment: Environment, rows: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    for number in range(rows):
        make_player(environment, f"p-{number}", attributes={"level": 41})
    client.get(at(environment))
    with django_assert_num_queries(7):
        client.get(at(environment, "beta-testers/members/"))


# --- Invalid rules ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [{"operator": "XOR"}, [], "text", None, {"conditions": 3}])
def test_invalid_rule__breaks_no_page(client: Client, environment: Environment, rule: Any) -> None:
    rows = Segment.objects.filter(environment=environment, key="beta-testers")
    rows.update(rule=Value(rule, JSONField()))
    make_player(environment, "p1")
    pages = ["", "beta-testers/", "beta-testers/edit/", "beta-testers/members/",
             "beta-testers/delete/", "+new/"]  # fmt: skip
    for page in pages:
        assert client.get(at(environment, page)).status_code == 200, page
    text = client.get(at(environment, "beta-testers/?player=p1")).content.decode()
    assert "this rule cannot be parsed, so it matches no players" in text
    assert "<strong>not in</strong>" in text
    for page in ("flag_list", "flag_detail", "flag_rules"):
        arguments = [] if page == "flag_list" else ["new_tutorial"]
        assert client.get(url_of(environment, page, *arguments)).status_code == 200, page


def test_segment_pages__parse_only_rules_that_mention_the_segment(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 300 segments and 1,000 flags, parsing each of them takes longer than the rest."""
    parsed: list[Any] = []

    def counted(document: Any) -> set[str]:
        parsed.append(document)
        return segments_named(document)

    monkeypatch.setattr("segments.models.segments_named", counted)
    monkeypatch.setattr("flags.models.flags.segments_named", counted)
    level = {"field": "level", "operator": ">=", "value": 1}
    for key in ("a", "a.b", "b"):
        segment_create(
            environment=environment, key=key, name="", actor=ACTOR,
            rule={"operator": "AND", "conditions": [level]},
        )  # fmt: skip
    inside = {"field": "segment", "operator": "in", "value": ["a"]}
    for key in ("uses-a", "uses-a-too"):
        segment_create(
            environment=environment, key=key, name="", actor=ACTOR,
            rule={"operator": "AND", "conditions": [level, inside]},
        )  # fmt: skip
    parsed.clear()
    assert list(map(str, users_of(environment, "a"))) == [
        "the segment uses-a", "the segment uses-a-too",
    ]  # fmt: skip
    assert len(parsed) == 2
    assert users_of(environment, "a.b") == users_of(environment, "axb") == []
    assert users_of_segments(environment, []) == {}
