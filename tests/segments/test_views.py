"""The segment pages."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from segments.models import Segment
from segments.services import segment_create, segment_update
from tests.factories import ACTOR, make_player
from tests.pages import message_of

pytestmark = pytest.mark.django_db
RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">=", "value": 3}]}


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def at(environment: Environment, path: str = "") -> str:
    return f"/{environment.project.slug}/{environment.slug}/segments/{path}"


def form(*conditions: dict[str, str], **more: Any) -> dict[str, Any]:
    data = {
        "key": "big-spenders",
        "operator": "AND",
        "conditions-TOTAL_FORMS": len(conditions),
        "conditions-INITIAL_FORMS": 0,
        **more,
    }
    for index, condition in enumerate(conditions):
        data |= {f"conditions-{index}-{name}": value for name, value in condition.items()}
    return data


def condition(field: str, operator: str, value: str = "") -> dict[str, str]:
    return {"field": field, "operator": operator, "value": value}


def test_list__says_rules_in_words_and_who_uses_them(
    client: Client, environment: Environment
) -> None:
    text = client.get(at(environment)).content.decode()
    assert "level is at least 40 or is_vip is true" in text
    assert "new_tutorial</a>" in text


def test_list__asks_the_same_of_the_database_for_one_row_and_for_fifty(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get(at(environment))
    with django_assert_num_queries(8):
        client.get(at(environment))
    for number in range(49):
        segment_create(environment=environment, key=f"s-{number}", name="", rule=RULE, actor=ACTOR)
    with django_assert_num_queries(8):
        client.get(at(environment))


def test_create__from_rows(client: Client, environment: Environment) -> None:
    data = form(
        condition("total_revenue", ">=", "99.5"),
        condition("country", "in", 'BR, "PT", 7'),
        condition("is_vip", "==", "true"),
        condition("email", "is_set"),
        condition("name", "==", '"40"'),
    )
    assert client.post(at(environment, "+new/"), data).status_code == 302
    rule = Segment.objects.get(environment=environment, key="big-spenders").rule
    assert rule["conditions"] == [
        {"field": "total_revenue", "operator": ">=", "value": 99.5},
        {"field": "country", "operator": "in", "value": ["BR", "PT", 7]},
        {"field": "is_vip", "operator": "==", "value": True},
        {"field": "email", "operator": "is_set"},
        {"field": "name", "operator": "==", "value": "40"},
    ]


def test_edit__shows_what_was_saved_and_saves_it_unchanged(
    client: Client, environment: Environment
) -> None:
    data = form(
        condition("a", "==", '"40"'), condition("b", "in", '1, "x, y", true'),
        condition("c", "within_last", "30d"), condition("d", "is_not_set"),
    )  # fmt: skip
    client.post(at(environment, "+new/"), data)
    before = Segment.objects.get(environment=environment, key="big-spenders").rule
    assert before["conditions"][1]["value"] == [1, "x, y", True]
    page: Any = client.get(at(environment, "big-spenders/edit/"))
    typed = [
        {name: row[name].value() or "" for name in ("field", "operator", "value")}
        for row in page.context["conditions"]
    ]
    client.post(at(environment, "big-spenders/edit/"), form(*typed))
    assert Segment.objects.get(environment=environment, key="big-spenders").rule == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (form(), "Add at least one condition"),
        (form(condition("level", ">=", "many")), "Give a number"),
        (form(condition("", "==", "1")), "required"),
        (form(condition("x", "within_last", "soon")), "time span"),
        (form(condition("x", "==", "1"), key="beta-testers"), "already a segment"),
        (form(condition("x", "==", "1"), key="not a key"), "letters, digits"),
        (form(condition("x", "==", "1"), document="{"), "valid JSON"),
        (form(document='{"operator": "XOR", "conditions": []}'), "Use AND, OR or NOT"),
    ],
)
def test_create__refuses_with_a_word_on_the_place(
    client: Client, environment: Environment, data: dict[str, Any], message: str
) -> None:
    response = client.post(at(environment, "+new/"), data)
    assert response.status_code == 422
    assert message in response.content.decode()
    assert Segment.objects.filter(environment=environment).count() == 1


def test_preview__counts_and_saves_nothing(client: Client, environment: Environment) -> None:
    for level in (1, 5, 9):
        make_player(environment, f"p{level}", attributes={"level": level})
    data = form(condition("level", ">", "3"), preview="1")
    response = client.post(at(environment, "+new/"), data, headers={"HX-Request": "true"})
    text = " ".join(response.content.decode().split())
    assert "<strong>2</strong> of 3 players match" in text
    assert not Segment.objects.filter(key="big-spenders").exists()


def test_nested_rule__is_edited_as_json(client: Client, environment: Environment) -> None:
    rule = {"operator": "OR", "conditions": [RULE, RULE]}
    segment_create(environment=environment, key="nested", name="", rule=rule, actor=ACTOR)
    page = client.get(at(environment, "nested/edit/"))
    assert page.context["conditions"].forms == []
    assert "level" in page.content.decode()


def test_delete__needs_the_name_and_no_flag_that_uses_it(
    client: Client, environment: Environment
) -> None:
    used = client.post(at(environment, "beta-testers/delete/"), {"typed": "beta-testers"})
    assert used.status_code == 422
    assert "new_tutorial" in used.content.decode()
    segment_create(environment=environment, key="idle", name="", rule=RULE, actor=ACTOR)
    assert client.post(at(environment, "idle/delete/"), {"typed": "idl"}).status_code == 422
    assert client.post(at(environment, "idle/delete/"), {"typed": "idle"}).status_code == 302
    assert not Segment.objects.filter(environment=environment, key="idle").exists()
    entry = AuditEntry.objects.get(action=AuditAction.SEGMENT_DELETED, environment=environment)
    assert (entry.before or {})["rule"] == RULE


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("in", ["a,b", "c"]),
        ("in", ['say "a, b"', ' "c" d, e']),
        ("in", ["", "a"]),
        ("in", ["1", 1, True, 1.0]),
        ("==", ""),
        ("==", " a "),
        ("contains", "a "),
        ("starts_with", '"a"'),
    ],
)
def test_value_that_is_hard_to_type__survives_an_edit(
    client: Client, environment: Environment, operator: str, value: Any
) -> None:
    rule = {
        "operator": "AND",
        "conditions": [{"field": "x", "operator": operator, "value": value}],
    }
    segment_create(environment=environment, key="hard", name="", rule=rule, actor=ACTOR)
    page: Any = client.get(at(environment, "hard/edit/"))
    typed = [
        {name: row[name].value() or "" for name in ("field", "operator", "value")}
        for row in page.context["conditions"]
    ]
    document = page.context["form"]["document"].value()
    response = client.post(
        at(environment, "hard/edit/"), form(*typed, document=document, name="Renamed")
    )
    assert response.status_code == 302
    saved = Segment.objects.get(environment=environment, key="hard")
    kept = saved.rule["conditions"][0]["value"]
    assert (saved.name, json.dumps(kept)) == ("Renamed", json.dumps(value))  # 1 is not 1.0 or true


def test_edit__of_a_segment_that_was_saved_since__asks_once_more(
    client: Client, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    page: Any = client.get(at(environment, "beta-testers/edit/"))
    opened = page.context["form"]["base"].value()
    segment_update(segment, name="Theirs", rule=RULE, description="", actor=ACTOR)
    mine = form(condition("level", ">=", "9"), name="Mine", base=opened)
    refused: Any = client.post(at(environment, "beta-testers/edit/"), mine)
    assert refused.status_code == 422
    assert "Its rule is now: level is at least 3." in refused.content.decode()
    segment.refresh_from_db()
    assert segment.name == "Theirs"
    mine["base"] = refused.context["form"]["base"].value()
    assert client.post(at(environment, "beta-testers/edit/"), mine).status_code == 302
    segment.refresh_from_db()
    assert segment.name == "Mine"


def undo_of(response: Any) -> str:
    return str(list(get_messages(response.wsgi_request))[-1].extra_tags)


def test_undo__brings_back_the_old_rule_unless_it_was_changed_since(
    client: Client, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    url = at(environment, "beta-testers/edit/")
    first = undo_of(client.post(url, form(condition("level", ">=", "9"))))
    second = undo_of(client.post(url, form(condition("level", ">=", "10"))))
    assert "was changed since" in message_of(client.post(first))
    client.post(second)
    client.post(first)
    before = segment.rule
    segment.refresh_from_db()
    assert (segment.rule, segment.name) == (before, "Beta testers")


def test_undo__brings_back_a_deleted_segment(client: Client, environment: Environment) -> None:
    segment_create(environment=environment, key="idle", name="Idle", rule=RULE, actor=ACTOR)
    undo = undo_of(client.post(at(environment, "idle/delete/"), {"typed": "idle"}))
    assert client.post(undo).status_code == 302
    back = Segment.objects.get(environment=environment, key="idle")
    assert (back.name, back.rule) == ("Idle", RULE)
    assert "already a segment" in message_of(client.post(undo))


def test_list__searched_for_nul__finds_what_the_rest_finds(
    client: Client, environment: Environment
) -> None:
    assert client.get(f"{at(environment)}?q=beta%00").status_code == 200
