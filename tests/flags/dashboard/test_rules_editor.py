"""The conditions of a flag's rules, used as a browser without JavaScript would."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from flags.engine.document import Rule, boolean_document
from flags.models import Flag
from flags.services import flag_create
from ilara_admin.models import Environment, Role
from tests.factories import ACTOR, make_player
from tests.form_fields import fields_of
from tests.pages import HTMX, text_of, url_of
from tests.segments.editor.test_views import Page, group

pytestmark = pytest.mark.django_db
LEVEL = {"field": "level", "operator": ">=", "value": 3}
DEEP = group(group(group(LEVEL, group(LEVEL)), operator="OR"), operator="NOT")


def rule(number: int, conditions: Any = None, **more: Any) -> Rule:
    return Rule(id=f"r{number}", variant="enabled", conditions=conditions, **more)


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def open_rules(client: Client, environment: Environment) -> Callable[..., Page]:
    def open_page(*rules: Rule) -> Page:
        flag_create(
            environment=environment, key="f", document=boolean_document(rules=rules), actor=ACTOR
        )
        return Page(client, url_of(environment, "flag_rules", "f"))

    return open_page


def saved(page: Page, environment: Environment) -> list[Any]:
    """Save what is typed; returns the conditions of the rules."""
    page.post()
    assert "draft" in (page.response.context or {}), page.text
    draft = {"draft": page.response.context["draft"], "base": "1"}
    page.client.post(url_of(environment, "flag_save", "f"), draft)
    return [
        each.conditions for each in Flag.objects.get(environment=environment, key="f").spec.rules
    ]


def test_conditions__are_added_edited_and_removed(
    open_rules: Callable[..., Page], environment: Environment
) -> None:
    page = open_rules(rule(1), rule(2, group(LEVEL)))
    page.press("edit rules-0-conditions")
    assert page.focused == "rules-0-conditions-0-field"
    page.type(rules_0_conditions_0_field="country", rules_0_conditions_0_value="BR")
    page.press("segment rules-0-conditions")
    page.type(rules_0_conditions_1_segments=["beta-testers"])
    page.press("edit rules-1-conditions").type(rules_1_conditions_0_value="4")
    assert saved(page, environment) == [
        group(
            {"field": "country", "operator": "==", "value": "BR"},
            {"field": "segment", "operator": "in", "value": ["beta-testers"]},
        ),
        group({**LEVEL, "value": 4}),
    ]


def test_conditions__are_removed(open_rules: Callable[..., Page], environment: Environment) -> None:
    page = open_rules(rule(1, group(LEVEL)))
    page.press("edit rules-0-conditions").press("clear rules-0-conditions")
    assert page.focused == "rules-0-conditions-edit"
    assert saved(page, environment) == [None]


@pytest.mark.parametrize("conditions", [group(LEVEL), DEEP, group(LEVEL, operator="NOT")])
def test_conditions__fold_to_a_sentence_and_survive(
    open_rules: Callable[..., Page], environment: Environment, conditions: Any
) -> None:
    page = open_rules(rule(1, conditions))
    assert "level is at least 3" in page.text
    assert "rules-0-conditions-0-field" not in page.fields
    page.press("edit rules-0-conditions").press("json rules-0-conditions")
    assert json.loads(page.fields["rules-0-conditions-json"][0]) == conditions
    page.press("rows rules-0-conditions").press("fold rules-0-conditions")
    assert page.focused == "rules-0-conditions-edit"
    assert saved(page, environment) == [conditions]


def test_incomplete_conditions__stay_open_with_their_errors(
    open_rules: Callable[..., Page],
) -> None:
    page = open_rules(rule(1)).press("edit rules-0-conditions").press("fold rules-0-conditions")
    assert "This field is required." in page.text
    page.type(rules_0_conditions_0_field="level").post()
    assert page.response.status_code == 422
    assert "Enter a value." in page.text
    assert page.fields["rules-0-conditions-0-field"] == ["level"]


def test_moved_rule__keeps_its_conditions_as_typed(
    open_rules: Callable[..., Page], environment: Environment
) -> None:
    page = open_rules(rule(1), rule(2, group(LEVEL)), rule(3))
    page.press("edit rules-0-conditions").press("segment rules-0-conditions")
    page.type(rules_0_conditions_0_field="a", rules_0_conditions_0_value="1")
    page.type(rules_0_conditions_1_segments=["beta-testers"])
    page.post({"row": "down-0"})
    assert page.fields["rules-1-conditions-0-field"] == ["a"]
    assert page.fields["rules-1-conditions-1-segments"] == ["beta-testers"]
    page.post({"row": "remove-2"}).post({"row": "add"})
    assert [bool(each) for each in saved(page, environment)] == [True, True, False]


def test_stored_conditions_that_cannot_be_read__are_edited_as_json(
    open_rules: Callable[..., Page], environment: Environment
) -> None:
    page = open_rules(rule(1, group(LEVEL)))
    broken = json.dumps(group({**LEVEL, "operator": "?"}))
    page.fields["rules-0-conditions-json"] = [broken]
    page.post()
    assert page.response.status_code == 422
    assert "conditions[0].operator: Unknown operator." in page.text
    assert page.fields["rules-0-conditions-kind"] == ["json"]


def test_audience__counts_the_segment_and_the_conditions(
    open_rules: Callable[..., Page], environment: Environment
) -> None:
    for level in (1, 3, 5, 7):
        make_player(environment, f"p{level}", attributes={"level": level, "beta": level > 3})
    page = open_rules(rule(1, group(LEVEL)), rule(2))

    def size(**typed: Any) -> str:
        data = {**page.fields, **{key.replace("_", "-"): value for key, value in typed.items()}}
        response = page.client.post(page.url, data, headers=HTMX)
        assert response.status_code == 200
        return " ".join(text_of(response).split())

    assert "<strong>3</strong> of 4 players match" in size(size="0")
    assert "All players match" in size(size="1")
    assert "<html" not in size(size="1")
    page.press("edit rules-1-conditions")
    assert "Incomplete" in size(size="1")
    found = size(size="1", rules_1_conditions_0_field="levl", rules_1_conditions_0_value="1")
    assert "<strong>0</strong> of 4 players match" in found
    assert "No player has levl; did you mean level?" in found
    assert 'id="rules-1-conditions-0-values" hx-swap-oob="true"' in found

    page.type(rules_1_conditions_0_field="level", rules_1_conditions_0_value="7")
    page.post({"size": "1"})
    assert "<strong>1</strong> of 4 players match" in page.text
    assert page.fields["rules-1-conditions-0-field"] == ["level"]


@pytest.mark.parametrize("size", ["7", "x", "-1", "", "0-conditions", "9" * 5_000])
def test_audience_of_a_rule_that_is_not_there__is_harmless(
    open_rules: Callable[..., Page], size: str
) -> None:
    page = open_rules(rule(1, group(LEVEL)))
    for headers in ({}, HTMX):
        response = page.client.post(page.url, {**page.fields, "size": size}, headers=headers)
        assert response.status_code == 200


def test_twenty_rules__stay_short(open_rules: Callable[..., Page]) -> None:
    page = open_rules(*(rule(number, group(*[LEVEL] * 10)) for number in range(20)))
    assert len(page.response.content) < 20 * 12_000
    assert "rules-0-conditions-0-field" not in fields_of(text_of(page.response), "editor")
