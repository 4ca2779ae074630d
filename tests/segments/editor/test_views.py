"""The segment editor, used as a browser without JavaScript would."""

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from events.models import EventName, EventProperty
from ilara_admin.models import Environment, Role
from segments.language.parser import FIELD_FORM
from segments.models import Segment
from segments.services import segment_create, segment_update
from tests.factories import ACTOR, make_player
from tests.form_fields import fields_of
from tests.pages import HTMX, url_of

pytestmark = pytest.mark.django_db
LEVEL = {"field": "level", "operator": ">=", "value": 3}
RULE = {"operator": "AND", "conditions": [LEVEL]}


def group(*conditions: Any, operator: str = "AND") -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


class Page:
    """An editor in a browser: type into controls and press buttons."""

    def __init__(self, client: Client, url: str) -> None:
        self.client, self.url = client, url
        self.show(client.get(url))

    def show(self, response: Any) -> None:
        self.response = response
        self.text = " ".join(response.content.decode().split())
        self.fields = fields_of(response.content.decode(), "editor")

    def type(self, **values: Any) -> "Page":
        """`rule_0_field` is the control rule-0-field."""
        for name, value in values.items():
            control = name.replace("_", "-")
            assert control in self.fields or control.endswith("segments"), control
            self.fields[control] = value if isinstance(value, list) else [value]
        return self

    def press(self, action: str) -> "Page":
        assert f'value="{action}"' in self.text, f"no button for {action}"
        return self.post({"rule-act": action})

    def post(self, button: dict[str, str] | None = None) -> "Page":
        self.show(self.client.post(self.url, {**self.fields, **(button or {})}))
        return self

    def preview(self) -> "Page":
        return self.post({"preview": "1"})

    @property
    def focused(self) -> str:
        found = re.search(r"<(?:input|select|button|textarea)[^>]*\bautofocus[^>]*>", self.text)
        name = re.search(r'\bid="id_([^"]*)"', found[0]) if found else None
        return name[1] if name else ""


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def new(client: Client, environment: Environment) -> Page:
    return Page(client, url_of(environment, "segment_new")).type(key="big-spenders")


def editor(client: Client, environment: Environment, key: str) -> Page:
    return Page(client, url_of(environment, "segment_edit", key))


def saved(environment: Environment, key: str = "big-spenders") -> Any:
    return Segment.objects.get(environment=environment, key=key).rule


def make(environment: Environment, rule: Any, key: str = "made") -> Segment:
    return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)


def test_conditions(new: Page, environment: Environment) -> None:
    rows = [
        ("total_revenue", ">=", "99.5"),
        ("country", "in", 'BR, "PT", 7'),
        ("is_vip", "==", "true"),
        ("email", "is_set", ""),
        ("name", "==", '"40"'),
        ("external_id", "in", "1001, 1002"),
    ]
    for index, (field, operator, value) in enumerate(rows):
        if index:
            new.press("field rule")
        new.type(**{f"rule_{index}_field": field, f"rule_{index}_operator": operator})
        new.type(**{f"rule_{index}_value": value})
    assert new.post().response.status_code == 302
    assert saved(environment)["conditions"] == [
        {"field": "total_revenue", "operator": ">=", "value": 99.5},
        {"field": "country", "operator": "in", "value": ["BR", "PT", 7]},
        {"field": "is_vip", "operator": "==", "value": True},
        {"field": "email", "operator": "is_set"},
        {"field": "name", "operator": "==", "value": "40"},
        {"field": "external_id", "operator": "in", "value": ["1001", "1002"]},
    ]


def test_groups_events_and_segments(new: Page, environment: Environment) -> None:
    new.type(rule_0_field="level", rule_0_operator=">", rule_0_value="3")
    new.press("event rule")
    assert new.focused == "rule-1-event"
    new.type(rule_1_event="level_complete", rule_1_value="3", rule_1_number="12", rule_1_unit="h")
    new.press("property rule-1").type(rule_1_0_field="stars", rule_1_0_value="3")
    new.press("property rule-1").type(rule_1_1_field="mode", rule_1_1_value="story")
    new.press("group rule").type(rule_2_operator="NOT", rule_2_0_field="a", rule_2_0_value="1")
    new.press("group rule-2").type(rule_2_1_0_field="b", rule_2_1_0_operator="is_set")
    new.press("segment rule-2-1").type(rule_2_1_1_segments=["beta-testers"])
    new.press("event rule-2-1").type(rule_2_1_2_event="quit", rule_2_1_2_operator="never")
    assert new.post().response.status_code == 302, new.text
    assert saved(environment) == group(
        {"field": "level", "operator": ">", "value": 3},
        {
            "event": "level_complete",
            "operator": ">=",
            "value": 3,
            "within": "12h",
            "where": group(
                {"field": "stars", "operator": "==", "value": 3},
                {"field": "mode", "operator": "==", "value": "story"},
            ),
        },
        group(
            {"field": "a", "operator": "==", "value": 1},
            group(
                {"field": "b", "operator": "is_set"},
                {"field": "segment", "operator": "in", "value": ["beta-testers"]},
                {"event": "quit", "operator": "<=", "value": 0, "within": "7d"},
                operator="OR",
            ),
            operator="NOT",
        ),
    )


HARD = [
    {"field": "x", "operator": "in", "value": ["a,b", "c"]},
    {"field": "x", "operator": "in", "value": ['say "a, b"', ' "c" d, e']},
    {"field": "x", "operator": "in", "value": ["", "a"]},
    {"field": "x", "operator": "in", "value": ["1", 1, True, 1.0]},
    {"field": "x", "operator": "==", "value": ""},
    {"field": "x", "operator": "==", "value": " a "},
    {"field": "x", "operator": "==", "value": "</textarea><b>"},
    {"field": "x", "operator": "contains", "value": "a "},
    {"field": "x", "operator": "contains", "value": "\na"},
    {"field": "x", "operator": "starts_with", "value": '"a"'},
    {"field": "attributes.email", "operator": "==", "value": "40"},
    {"field": "email", "operator": "!=", "value": "40"},
    {"field": "segment", "operator": "not_in", "value": ["z", "beta-testers"]},
    {"event": "a", "operator": "<=", "value": 1, "within": "02h"},
    {"event": "a", "operator": ">=", "value": 1, "within": "2w",
     "where": group(LEVEL, operator="OR")},
    group(group(group(LEVEL, operator="NOT"), operator="OR"), operator="NOT"),
]  # fmt: skip


@pytest.mark.parametrize("part", HARD, ids=json.dumps)
def test_rule_with_unusual_values__survives_an_edit(
    client: Client, environment: Environment, part: Any
) -> None:
    make(environment, RULE, "z")
    rule = group(LEVEL, part, operator="OR")
    make(environment, rule)
    page = editor(client, environment, "made").type(name="Renamed")
    assert page.post().response.status_code == 302, page.text
    stored = Segment.objects.get(environment=environment, key="made")
    same = json.dumps(stored.rule, sort_keys=True) == json.dumps(rule, sort_keys=True)
    assert (stored.name, same) == ("Renamed", True)  # distinguishes 1, 1.0 and true


def test_part_without_controls__is_shown_as_json(client: Client, environment: Environment) -> None:
    make(environment, group(group(group(LEVEL, group(LEVEL)))))
    page = editor(client, environment, "made")
    assert page.fields["rule-0-0-0-field"] == ["level"]
    assert json.loads(page.fields["rule-0-0-1-json"][0]) == group(LEVEL)
    assert "The editor has no controls for this part" in page.text
    assert "Groups inside this one are edited as JSON." in page.text
    page.type(rule_0_0_1_json='{"operator": "AND", "conditions": [{"field": "a"}]}').post()
    assert page.response.status_code == 422
    assert faults(page) == [("id_rule-0-0-1-json", "conditions[0].operator: Unknown operator.")]


def faults(page: Page) -> list[tuple[str, str]]:
    return [
        (fault.id, fault.message.partition(" Use one of")[0])
        for fault in page.response.context["faults"]
    ]


def test_errors__are_shown_at_their_controls_and_input_is_preserved(new: Page) -> None:
    new.type(rule_0_field="level", rule_0_operator=">=", rule_0_value="many")
    new.press("field rule").type(rule_1_field="is_payer", rule_1_operator=">", rule_1_value="1")
    new.press("segment rule")
    new.press("event rule").type(rule_3_event="win", rule_3_value="0", rule_3_number="400")
    new.press("property rule-3").type(rule_3_0_field="a..b", rule_3_0_value="1")
    new.press("group rule").type(rule_4_0_field="seen", rule_4_0_operator="within_last")
    before = dict(new.fields)
    new.post()
    assert new.response.status_code == 422
    assert faults(new) == [
        ("id_rule-0-value", "Give a number."),
        ("id_rule-1-operator", "is_payer is of type true or false."),
        ("id_rule-2-segments_0", "Choose at least one segment."),
        ("id_rule-3-value", "Give a number from 1 to 10000."),
        ("id_rule-3-0-field", FIELD_FORM),
        ("id_rule-4-0-value", "Enter a value."),
    ]
    for name, _ in faults(new):
        assert f'id="{name}"' in new.text
    assert {**new.fields, "csrfmiddlewaretoken": ""} == {**before, "csrfmiddlewaretoken": ""}


def test_errors_found_in_the_database__are_shown_at_their_part(
    client: Client, environment: Environment
) -> None:
    reference = {"field": "segment", "operator": "in", "value": ["made"]}
    make(environment, RULE)
    make(environment, group(LEVEL, reference), "other")
    page = editor(client, environment, "made").press("segment rule")
    page.type(rule_1_segments=["other"]).post()
    assert faults(page) == [
        ("id_rule-1-segments_0",
         "A segment must not refer to itself: made → other → made.")
    ]  # fmt: skip
    page.type(rule_1_segments=["nowhere"]).preview()
    assert faults(page) == [
        ("id_rule-1-segments_0", "There is no segment “nowhere” in this environment.")
    ]
    assert "nowhere (deleted)" in page.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"key": "beta-testers"}, "already exists"),
        ({"key": "not a key"}, "letters, digits"),
        ({"rule_0_field": ""}, "required"),
        ({"rule_0_field": "\0"}, "Null characters"),
    ],
)
def test_invalid_input__is_refused_with_an_error_at_its_field(
    new: Page, environment: Environment, values: dict[str, str], message: str
) -> None:
    new.type(rule_0_field="x", rule_0_value="1").type(**values).post()
    assert new.response.status_code == 422
    assert message in new.text
    assert Segment.objects.filter(environment=environment).count() == 1


def test_group_without_conditions__is_refused_at_the_group(new: Page) -> None:
    new.press("group rule").press("remove rule-0").press("remove rule-0-0").post()
    assert faults(new) == [("", "Add at least one condition.")]
    assert "Group 1: Add at least one condition." in new.text


def test_buttons__move_the_focus(new: Page) -> None:
    assert new.press("field rule").focused == "rule-1-field"
    assert new.press("group rule").focused == "rule-2-operator"
    assert new.press("remove rule-0").focused == "rule-0-remove"
    assert new.press("remove rule-1").focused == "rule-0-remove"
    assert new.press("remove rule-0").focused == "rule-add"


def test_switch_to_json_and_back(new: Page, environment: Environment) -> None:
    new.type(rule_0_field="level", rule_0_operator=">", rule_0_value="many").press("json rule")
    assert faults(new) == [("id_rule-0-value", "Give a number.")]
    new.type(rule_0_value="3").press("json rule")
    assert new.focused == "rule-json"
    typed = json.loads(new.fields["rule-json"][0])
    assert typed == group({"field": "level", "operator": ">", "value": 3})
    new.type(rule_json="{").press("rows rule")
    assert "Invalid JSON" in new.text
    assert new.fields["rule-json"] == ["{"]
    new.type(rule_json=json.dumps(group(RULE, operator="OR"))).press("rows rule")
    assert new.fields["rule-0-0-field"] == ["level"]
    new.press("json rule").post()
    assert saved(environment) == group(RULE, operator="OR")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"operator": "XOR", "conditions": []}', "Use AND, OR or NOT"),
        ("3", "A rule is an object"),
        ('{"operator": "AND", "conditions": [{"\\ud800": 1}]}', "Unknown."),
        ("[" * 100_000, "Invalid JSON"),
        ("1" * 5_000, "Invalid JSON"),
    ],
)
def test_json_that_is_not_a_rule__is_refused(new: Page, text: str, message: str) -> None:
    new.type(rule_0_field="x", rule_0_value="1").press("json rule").type(rule_json=text).post()
    assert new.response.status_code == 422
    assert message in new.text


def test_json__can_nest_up_to_the_rule_limit(new: Page, environment: Environment) -> None:
    rule: Any = RULE
    for _ in range(31):
        rule = group(rule)
    new.type(rule_0_field="x", rule_0_value="1").press("json rule")
    assert new.type(rule_json=json.dumps(group(rule))).post().response.status_code == 422
    assert new.type(rule_json=json.dumps(rule)).post().response.status_code == 302
    assert saved(environment) == rule


def test_operators__are_limited_to_those_of_the_field(new: Page) -> None:
    def offered() -> set[str]:
        first = new.text[new.text.index('name="rule-0-operator"') :].partition("</select>")[0]
        options = re.findall(r'<option value="([^"]+)"([^>]*)>', first)
        return {unescape(value) for value, rest in options if "disabled" not in rest}

    assert {">", "semver_eq", "contains_any"} <= offered()
    new.type(rule_0_field="is_payer", rule_0_operator=">").press("field rule")
    assert offered() == {"==", "!=", "is_set", "is_not_set", ">"}  # the selected one stays
    new.type(rule_0_operator="==").press("field rule")
    assert offered() == {"==", "!=", "is_set", "is_not_set"}


def test_preview__shows_a_count_and_a_sentence_and_saves_nothing(
    new: Page, environment: Environment
) -> None:
    for level in (1, 5, 9):
        make_player(environment, f"p{level}", attributes={"level": level})
    new.type(rule_0_field="level", rule_0_operator=">", rule_0_value="3")
    new.press("field rule").type(rule_1_field="country", rule_1_operator="!=", rule_1_value="BR")
    data = {**new.fields, "preview": "1"}
    response = new.client.post(new.url, data, headers=HTMX)
    text = " ".join(response.content.decode().split())
    assert "level is more than 3 and country is not “BR”" in text
    assert "<strong>2</strong> of 3 players match" in text
    assert "<code>country</code>." in text
    assert not Segment.objects.filter(key="big-spenders").exists()


def test_preview__works_without_a_key(new: Page) -> None:
    new.type(key="", rule_0_field="level", rule_0_value="3").preview()
    assert "No players to preview" in new.text


def test_edit_of_a_segment_changed_since__must_be_saved_again(
    client: Client, environment: Environment
) -> None:
    segment = Segment.objects.get(environment=environment, key="beta-testers")
    page = editor(client, environment, "beta-testers").type(name="Mine")
    segment_update(segment, name="Theirs", rule=RULE, description="", actor=ACTOR)
    assert page.post().response.status_code == 409
    assert "<ins>level is at least 3</ins>" in page.text
    segment.refresh_from_db()
    assert segment.name == "Theirs"
    again = fields_of(page.response.content.decode(), "conflict")
    reviewed = page.client.post(page.url, {**again, "review": "1"})
    assert reviewed.status_code == 200
    assert fields_of(reviewed.content.decode(), "editor")["name"] == ["Mine"]
    assert page.client.post(page.url, again).status_code == 302
    segment.refresh_from_db()
    assert (segment.name, len(segment.rule["conditions"])) == ("Mine", 2)


def test_invalid_stored_rule__opens_as_json_with_the_error(
    client: Client, environment: Environment
) -> None:
    segment = make(environment, RULE)
    Segment.objects.filter(pk=segment.pk).update(rule={"operator": "AND", "conditions": [{"a": 1}]})
    page = editor(client, environment, "made")
    assert page.response.status_code == 200
    assert "conditions[0].a: Unknown." in page.text
    page.type(rule_json=json.dumps(RULE)).post()
    assert page.response.status_code == 302
    assert saved(environment, "made") == RULE


def test_editor__runs_as_many_queries_for_50_conditions_as_for_one(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    reference = {"field": "segment", "operator": "in", "value": ["beta-testers"]}
    make(environment, group(reference), "one")
    make(environment, group(*[reference] * 50), "fifty")
    client.get(url_of(environment, "segment_edit", "one"))
    for key in ("one", "fifty"):
        with django_assert_num_queries(5):
            client.get(url_of(environment, "segment_edit", key))


# --- Names with dots ------------------------------------------------------------------------------


def test_names_seen__are_suggested_as_rules_write_them(
    client: Client, environment: Environment
) -> None:
    attributes = {
        "level": 1,
        "stats": {"wins": 1},
        "stats.wins": 2,
        "a\\b": 3,
        "email": "x",
        " ": 4,
    }
    make_player(environment, "dotted", attributes=attributes)
    now = timezone.now()
    name = EventName.objects.create(
        environment=environment, name="win", count=1, first_seen_at=now, last_seen_at=now
    )
    EventProperty.objects.create(event_name=name, name="item.name", type="string", count=1)
    html = client.get(url_of(environment, "segment_new")).content.decode()
    lists = {part.partition('"')[0]: part for part in html.split('<datalist id="')[1:]}
    for value in ("level", "stats.wins", r"stats\.wins", r"a\\b", "attributes.email"):
        assert f'<option value="{value}" data-kind="attribute">' in lists["rule-fields"]
    assert 'value=" "' not in html
    assert r'<option value="item\.name">' in lists["rule-properties"]
    assert '<option value="win">' in lists["rule-events"]


def test_name_with_a_dot__is_explained_and_kept(client: Client, environment: Environment) -> None:
    condition = {"field": r"stats\.wins", "operator": "==", "value": 3}
    where = group({"field": "item.name", "operator": "==", "value": "sword"})
    event = {"event": "buy", "operator": ">=", "value": 1, "within": "7d", "where": where}
    make(environment, group(condition, event))
    page = editor(client, environment, "made")
    assert "“stats.wins”</small>" in page.text
    assert "“name” inside “item”</small>" in page.text
    page.type(reason="Same").post()
    assert Segment.objects.get(key="made").rule == group(condition, event)
