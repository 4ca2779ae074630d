"""The flag pages."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from flags.document import Rule, boolean_document
from flags.models import Flag
from flags.services import flag_create, flag_set_enabled, flag_update
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from tests.factories import ACTOR, make_environment, make_player
from tests.pages import message_of

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


def at(environment: Environment, path: str = "") -> str:
    return f"/{environment.project.slug}/{environment.slug}/flags/{path}"


def the(environment: Environment, key: str) -> Flag:
    return Flag.objects.get(environment=environment, key=key)


def rows(prefix: str, *forms: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {f"{prefix}-TOTAL_FORMS": len(forms), f"{prefix}-INITIAL_FORMS": 0, **more}
    for index, form in enumerate(forms):
        data |= {f"{prefix}-{index}-{name}": value for name, value in form.items()}
    return data


RULE = {"segment": "beta-testers", "serve": "enabled", "rollout": "25", "conditions": ""}


# --- The list ---------------------------------------------------------------------------------


def test_list__page_and_fragment_show_the_same_flags(
    client: Client, environment: Environment
) -> None:
    page = client.get(at(environment))
    fragment = client.get(at(environment), headers=HTMX)
    for response in (page, fragment):
        assert response.status_code == 200
        assert b"new_tutorial" in response.content
    assert b"<html" in page.content
    assert b"<html" not in fragment.content


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"new_tutorial", "new-feature"}),
        ("q=TUTORIAL", {"new_tutorial"}),
        ("state=off", {"new-feature"}),
        ("segment=beta-testers", {"new_tutorial"}),
        ("show=archived", set()),
        ("q=nothing-like-it", set()),
    ],
)
def test_list__filters(
    client: Client, environment: Environment, query: str, found: set[str]
) -> None:
    response = client.get(f"{at(environment)}?{query}")
    assert {flag.key for flag in response.context["page"].rows} == found


def test_list__asks_the_same_of_the_database_for_one_row_and_for_fifty(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get(at(environment))
    with django_assert_num_queries(6):
        client.get(f"{at(environment)}?q=new_tutorial")
    for number in range(50):
        flag_create(
            environment=environment,
            key=f"many-{number}",
            document=boolean_document(rules=(Rule(id="r", variant="enabled"),)),
            actor=ACTOR,
        )
    with django_assert_num_queries(6):
        response = client.get(f"{at(environment)}?q=many")
    assert len(response.context["page"].rows) == 50


# --- A new flag -------------------------------------------------------------------------------


def test_create__makes_it_off_in_every_environment_chosen(
    client: Client, environment: Environment
) -> None:
    data = {"key": "double_xp", "value_type": "boolean", "environments": ["live", "test"]}
    response = client.post(at(environment, "+new/"), data)
    assert response.status_code == 302
    flags = Flag.objects.filter(key="double_xp", environment__project=environment.project)
    assert {flag.environment.slug for flag in flags} == {"live", "test"}
    assert not any(flag.spec.enabled for flag in flags)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"key": "no spaces", "value_type": "boolean"}, "letters, digits"),
        ({"key": "new_tutorial", "value_type": "boolean"}, "already a flag"),
        ({"key": "n", "value_type": "number", "value": "many"}, "Give a number"),
        ({"key": "n", "value_type": "json", "value": "{"}, "Give a JSON object"),
    ],
)
def test_create__refuses_with_a_word_on_the_field(
    client: Client, environment: Environment, data: dict[str, Any], message: str
) -> None:
    response = client.post(at(environment, "+new/"), {**data, "environments": ["live"]})
    assert response.status_code == 422
    assert message in response.content.decode()


# --- One flag ---------------------------------------------------------------------------------


def test_detail__try_it_says_what_a_player_gets_and_why(
    client: Client, environment: Environment
) -> None:
    make_player(environment, "ada", attributes={"level": 45})
    response = client.get(at(environment, "new_tutorial/?player=ada"), headers=HTMX)
    text = response.content.decode()
    assert "true" in text
    assert "Rule 1: in segment beta-testers." in text
    assert "<html" not in text


def test_detail__of_another_environment__is_not_found(client: Client) -> None:
    ours, theirs = make_environment(), make_environment()
    flag_create(environment=theirs, key="theirs", document=boolean_document(), actor=ACTOR)
    assert client.get(at(ours, "theirs/")).status_code == 404


def test_switch__asks_then_does_it_and_audits_the_reason(
    client: Client, environment: Environment
) -> None:
    url = at(environment, "new_tutorial/turn-off/")
    assert client.get(url).status_code == 200
    assert the(environment, "new_tutorial").spec.enabled
    client.post(url, {"reason": "It crashes"})
    assert not the(environment, "new_tutorial").spec.enabled
    entry = AuditEntry.objects.get(action=AuditAction.FLAG_DISABLED, environment=environment)
    assert (entry.reason, entry.before, entry.after) == (
        "It crashes",
        {"enabled": True},
        {"enabled": False},
    )


def test_switch__twice_does_not_turn_it_back(client: Client, environment: Environment) -> None:
    for _ in range(2):
        client.post(at(environment, "new_tutorial/turn-off/"))
    assert not the(environment, "new_tutorial").spec.enabled
    assert the(environment, "new_tutorial").revision == 2


def test_undo__restores_and_refuses_when_somebody_saved_since(
    client: Client, environment: Environment
) -> None:
    flag = flag_set_enabled(the(environment, "new_tutorial"), False, actor=ACTOR)
    url = at(environment, f"new_tutorial/restore/1/?from={flag.revision}")
    flag_set_enabled(flag, True, actor=ACTOR)
    refused = client.post(url)
    assert refused.status_code == 422
    assert "revision 3" in refused.content.decode()
    assert client.post(at(environment, "new_tutorial/restore/2/")).status_code == 302
    assert not the(environment, "new_tutorial").spec.enabled


def test_percentage__keeps_everything_else(client: Client, environment: Environment) -> None:
    before = the(environment, "new_tutorial").spec
    client.post(at(environment, "new_tutorial/rules/beta/percentage/"), {"rollout": "12.345"})
    after = the(environment, "new_tutorial").spec
    assert after == before.with_rollout("beta", 12_345)


@pytest.mark.parametrize("amount", ["-1", "100.1", "abc", "", "1.2345", "NaN"])
def test_percentage__refuses_nonsense(
    client: Client, environment: Environment, amount: str
) -> None:
    url = at(environment, "new_tutorial/rules/beta/percentage/")
    assert client.post(url, {"rollout": amount}).status_code == 422
    assert the(environment, "new_tutorial").revision == 1


def test_percentage__set_by_two_at_once__says_so(client: Client, environment: Environment) -> None:
    url = at(environment, "new_tutorial/rules/beta/percentage/?from=1")
    assert client.post(url, {"rollout": "50"}).status_code == 302
    refused = client.post(url, {"rollout": "20"})
    assert refused.status_code == 422
    assert "Nothing was saved" in refused.content.decode()
    assert the(environment, "new_tutorial").spec.rules[0].rollout == 50_000


def test_percentage_of_a_rule_that_is_gone__says_so(
    client: Client, environment: Environment
) -> None:
    response = client.get(at(environment, "new_tutorial/rules/gone/percentage/"))
    assert "no longer there" in message_of(response)


def test_undo_of_a_switch__leaves_alone_what_was_saved_just_before_it(
    client: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_first(flag: Flag, enabled: bool, **options: Any) -> Flag:
        about = {"name": "Theirs"}
        flag_update(flag, document=flag.spec, about=about, base_revision=1, actor=ACTOR)
        return flag_set_enabled(flag, enabled, **options)

    monkeypatch.setattr("flags.services.flag_set_enabled", save_first)
    response = client.post(at(environment, "new_tutorial/turn-off/"))
    [message] = get_messages(response.wsgi_request)
    client.post(message.extra_tags)
    flag = the(environment, "new_tutorial")
    assert (flag.spec.enabled, flag.name, flag.revision) == (True, "Theirs", 4)


def test_undo_of_a_new_name__brings_the_old_one_back(
    client: Client, environment: Environment
) -> None:
    flag = the(environment, "new_tutorial")
    save = {"draft": json.dumps(flag.document), "base": 1, "name": "Fresh", "description": ""}
    response = client.post(at(environment, "new_tutorial/save/"), save)
    assert the(environment, "new_tutorial").name == "Fresh"
    [message] = get_messages(response.wsgi_request)
    client.post(message.extra_tags)
    assert the(environment, "new_tutorial").about == flag.about
    page = client.get(at(environment, "new_tutorial/")).content.decode()
    assert page.count("<del>Fresh</del> → <ins>New tutorial</ins>") == 1


# --- The editors ------------------------------------------------------------------------------


def test_rules__row_buttons_save_nothing(client: Client, environment: Environment) -> None:
    url = at(environment, "new-feature/rules/")
    response = client.post(url, rows("rules", RULE, row="add"), headers=HTMX)
    assert response.status_code == 200
    assert response.content.count(b"<fieldset") == 2
    assert the(environment, "new-feature").revision == 1


def test_rules__review_then_save(client: Client, environment: Environment) -> None:
    url = at(environment, "new-feature/rules/")
    review = client.post(url, rows("rules", RULE, base=1))
    assert "beta-testers: enabled to 25 %" in review.content.decode()
    assert the(environment, "new-feature").revision == 1
    draft = review.context["draft"]
    save = {"draft": draft, "base": 1, "reason": "A quarter first"}
    assert client.post(at(environment, "new-feature/save/"), save).status_code == 302
    saved = the(environment, "new-feature")
    assert saved.spec.rules[0].rollout == 25_000
    assert saved.revisions.get(number=2).reason == "A quarter first"


def test_save__on_a_revision_that_is_gone__shows_both_changes(
    client: Client, environment: Environment
) -> None:
    review = client.post(at(environment, "new-feature/rules/"), rows("rules", RULE, base=1))
    flag = the(environment, "new-feature")
    flag_update(flag, document=boolean_document(enabled=True), base_revision=1, actor=ACTOR)
    save = {"draft": review.context["draft"], "base": 1}
    response = client.post(at(environment, "new-feature/save/"), save)
    assert response.status_code == 409
    text = response.content.decode()
    assert "while you were editing" in text
    assert "off" in text
    assert "beta-testers: enabled to 25 %" in text
    assert the(environment, "new-feature").revision == 2


def test_save__of_a_draft_that_is_no_draft__saves_nothing(
    client: Client, environment: Environment
) -> None:
    for draft in ("{", "[]", json.dumps({"value_type": "boolean"})):
        client.post(at(environment, "new-feature/save/"), {"draft": draft, "base": 1})
    assert the(environment, "new-feature").revision == 1


def test_rules__unknown_segment_and_bad_conditions_are_refused(
    client: Client, environment: Environment
) -> None:
    url = at(environment, "new-feature/rules/")
    unknown = client.post(url, rows("rules", {**RULE, "segment": "nobody"}, base=1))
    assert unknown.status_code == 422
    conditions = {**RULE, "conditions": '{"operator": "AND", "conditions": []}'}
    refused = client.post(url, rows("rules", conditions, base=1))
    assert refused.status_code == 422
    assert "Add at least one condition" in refused.content.decode()


def test_variants__of_a_boolean_flag_cannot_change(
    client: Client, environment: Environment
) -> None:
    form = rows(
        "variants",
        {"key": "mine", "value": "false", "name": "On"},
        {"key": "disabled", "value": "true", "name": ""},
        base=1,
        default="disabled",
        off="disabled",
    )
    review = client.post(at(environment, "new-feature/variants/"), form)
    draft = json.loads(review.context["draft"])
    assert [(item["key"], item["value"]) for item in draft["variants"]] == [
        ("enabled", True),
        ("disabled", False),
    ]


def test_archive_and_back(client: Client, environment: Environment) -> None:
    client.post(at(environment, "new_tutorial/archive/"), {"reason": "Done"})
    assert the(environment, "new_tutorial").archived_at
    client.post(at(environment, "new_tutorial/unarchive/"))
    assert the(environment, "new_tutorial").archived_at is None


def test_what_a_flag_says__is_escaped(client: Client, environment: Environment) -> None:
    script = "<script>alert(1)</script>"
    flag_create(
        environment=environment,
        key="xss",
        name=script,
        description=script,
        document=boolean_document(),
        actor=ACTOR,
        reason=script,
    )
    for path in ("", "xss/", "xss/variants/"):
        assert script.encode() not in client.get(at(environment, path)).content
