"""The flag pages."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from flags.engine.document import (
    Prerequisite,
    Ramp,
    Rule,
    ScheduleStep,
    boolean_document,
    encode_document,
)
from flags.models import Flag, FlagUsage
from flags.services import Saved, flag_create, flag_set_enabled, flag_update
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role, User
from tests.factories import ACTOR, make_constant_flag, make_environment, make_player
from tests.form_fields import fields_of
from tests.pages import message_of
from tests.zones import BEGIN, around, changes_of

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


RULE = {"segment": "beta-testers", "serve": "enabled", "rollout": "25", "timing": "fixed"}


def with_conditions(typed: str, kind: str = "json") -> dict[str, str]:
    return {**RULE, "conditions-kind": kind, "conditions-json": typed}


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
        ("state=archived", set()),
        ("q=nothing-like-it", set()),
    ],
)
def test_list__filters(
    client: Client, environment: Environment, query: str, found: set[str]
) -> None:
    response = client.get(f"{at(environment)}?{query}")
    assert {flag.key for flag in response.context["page"].rows} == found


def test_list__needs_the_same_queries_for_1_row_and_50(
    client: Client, environment: Environment, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get(at(environment))
    with django_assert_num_queries(7):
        client.get(f"{at(environment)}?q=new_tutorial")
    for number in range(50):
        flag_create(
            environment=environment,
            key=f"many-{number}",
            document=boolean_document(rules=(Rule(id="r", variant="enabled"),)),
            actor=ACTOR,
        )
    with django_assert_num_queries(7):
        response = client.get(f"{at(environment)}?q=many")
    assert len(response.context["page"].rows) == 50


# --- A new flag -------------------------------------------------------------------------------


def test_create__adds_it_off_in_the_chosen_environments(
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
def test_invalid_field__is_refused_with_a_message(
    client: Client, environment: Environment, data: dict[str, Any], message: str
) -> None:
    response = client.post(at(environment, "+new/"), {**data, "environments": ["live"]})
    assert response.status_code == 422
    assert message in response.content.decode()


# --- One flag ---------------------------------------------------------------------------------


def test_try_it__shows_value_and_reason(client: Client, environment: Environment) -> None:
    make_player(environment, "ada", attributes={"level": 45})
    response = client.get(at(environment, "new_tutorial/?player=ada"), headers=HTMX)
    text = response.content.decode()
    assert "true" in text
    assert "Rule 1: in segment beta-testers." in text
    assert "<html" not in text


def test_flag_of_another_environment__is_not_found(client: Client) -> None:
    ours, theirs = make_environment(), make_environment()
    flag_create(environment=theirs, key="theirs", document=boolean_document(), actor=ACTOR)
    assert client.get(at(ours, "theirs/")).status_code == 404


def test_switch__confirms_and_audits_the_reason(client: Client, environment: Environment) -> None:
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


def test_switch_posted_twice__does_not_toggle_back(
    client: Client, environment: Environment
) -> None:
    for _ in range(2):
        client.post(at(environment, "new_tutorial/turn-off/"))
    assert not the(environment, "new_tutorial").spec.enabled
    assert the(environment, "new_tutorial").revision == 2


def test_undo__restores_unless_changed_since(client: Client, environment: Environment) -> None:
    flag, _ = flag_set_enabled(the(environment, "new_tutorial"), False, actor=ACTOR)
    url = at(environment, f"new_tutorial/restore/1/?from={flag.revision}")
    flag_set_enabled(flag, True, actor=ACTOR)
    assert client.post(url).status_code == 409
    assert client.post(url, headers=HTMX).status_code == 422
    assert the(environment, "new_tutorial").revision == 3
    assert client.post(at(environment, "new_tutorial/restore/2/")).status_code == 302
    assert not the(environment, "new_tutorial").spec.enabled


def test_percentage__changes_nothing_else(client: Client, environment: Environment) -> None:
    before = the(environment, "new_tutorial").spec
    client.post(at(environment, "new_tutorial/rules/beta/percentage/"), {"rollout": "12.345"})
    after = the(environment, "new_tutorial").spec
    assert after == before.with_rollout("beta", 12_345)


@pytest.mark.parametrize("amount", ["-1", "100.1", "abc", "", "1.2345", "NaN"])
def test_invalid_percentage__is_refused(
    client: Client, environment: Environment, amount: str
) -> None:
    url = at(environment, "new_tutorial/rules/beta/percentage/")
    assert client.post(url, {"rollout": amount}).status_code == 422
    assert the(environment, "new_tutorial").revision == 1


def test_percentage_on_an_old_revision__is_a_conflict(
    client: Client, environment: Environment
) -> None:
    url = at(environment, "new_tutorial/rules/beta/percentage/?from=1")
    assert client.post(url, {"rollout": "50"}).status_code == 302
    refused = client.post(url, {"rollout": "20"})
    assert refused.status_code == 409
    assert "Nothing was saved" in refused.content.decode()
    assert the(environment, "new_tutorial").spec.rules[0].rollout == 50_000
    again = fields_of(refused.content.decode(), "conflict")
    assert client.post(refused.context["save_url"], again).status_code == 302
    assert the(environment, "new_tutorial").spec.rules[0].rollout == 20_000


def test_percentage__previews_its_impact(client: Client, environment: Environment) -> None:
    for number in range(4):
        make_player(environment, f"vip-{number}", attributes={"is_vip": True})
    url = at(environment, "new_tutorial/rules/beta/percentage/")
    context = client.post(url, {"rollout": "0", "ask": "1"})
    assert "4 of 4 players switch. All players were evaluated." in context.content.decode()
    line = {"HX-Request": "true", "HX-Target": "confirm-preview"}
    context = client.post(url, {"rollout": "0", "ask": "1"}, headers=line)
    said = re.search(r"<p>(.*?)</p>", context.content.decode())
    assert said
    assert said[1] == "4 of 4 players switch. All players were evaluated."
    assert client.post(url, {"rollout": "-1", "ask": "1"}, headers=line).content == b""
    assert the(environment, "new_tutorial").revision == 1


def test_percentage_of_a_deleted_rule__shows_a_message(
    client: Client, environment: Environment
) -> None:
    response = client.get(at(environment, "new_tutorial/rules/gone/percentage/"))
    assert "no longer exists" in message_of(response)


def test_undo_of_a_switch__keeps_earlier_changes(
    client: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_first(flag: Flag, enabled: bool, **options: Any) -> Saved:
        details = {"name": "Theirs"}
        flag_update(flag, document=flag.spec, details=details, base_revision=1, actor=ACTOR)
        return flag_set_enabled(flag, enabled, **options)

    monkeypatch.setattr("flags.services.flag_set_enabled", save_first)
    response = client.post(at(environment, "new_tutorial/turn-off/"))
    [message] = get_messages(response.wsgi_request)
    monkeypatch.undo()
    client.post(message.extra_tags)
    flag = the(environment, "new_tutorial")
    assert (flag.spec.enabled, flag.name, flag.revision) == (True, "Theirs", 4)


def test_undo_of_a_new_name__restores_the_old_one(client: Client, environment: Environment) -> None:
    flag = the(environment, "new_tutorial")
    url = at(environment, "new_tutorial/details/")
    form = client.get(url).context["page"].form
    response = client.post(url, {**form.initial, "name": "Fresh"})
    assert the(environment, "new_tutorial").name == "Fresh"
    [message] = get_messages(response.wsgi_request)
    client.post(message.extra_tags)
    assert the(environment, "new_tutorial").details == flag.details
    page = client.get(at(environment, "new_tutorial/")).content.decode()
    assert len(re.findall(r"<del>Fresh</del> →\s+<ins>New tutorial</ins>", page)) == 1


# --- The editors ------------------------------------------------------------------------------


def test_rules__row_buttons_save_nothing(client: Client, environment: Environment) -> None:
    url = at(environment, "new-feature/rules/")
    response = client.post(url, rows("rules", RULE, row="add"), headers=HTMX)
    assert response.status_code == 200
    assert response.content.count(b"<fieldset") == 2
    assert the(environment, "new-feature").revision == 1


@pytest.mark.parametrize("typed", ["", '{"operator": "AND", "conditions": [', "{}"])
def test_row_button__keeps_the_input(client: Client, environment: Environment, typed: str) -> None:
    rule = with_conditions(typed)
    response = client.post(
        at(environment, "new-feature/rules/"), rows("rules", rule, rule, row="up-1")
    )
    assert [form.conditions.json for form in response.context["rules"]] == [typed] * 2
    assert response.content.decode().count(escape(typed) + "</textarea>") >= 2


def test_rules__review_then_save(client: Client, environment: Environment) -> None:
    url = at(environment, "new-feature/rules/")
    review = client.post(url, rows("rules", RULE, base=1))
    assert "25 % of beta-testers get enabled" in review.content.decode()
    assert the(environment, "new-feature").revision == 1
    draft = review.context["draft"]
    save = {"draft": draft, "base": 1, "reason": "A quarter first"}
    assert client.post(at(environment, "new-feature/save/"), save).status_code == 302
    saved = the(environment, "new-feature")
    assert saved.spec.rules[0].rollout == 25_000
    assert saved.revisions.get(number=2).reason == "A quarter first"


def test_save_on_an_old_revision__shows_both_changes(
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
    assert "25 % of beta-testers get enabled" in text
    assert the(environment, "new-feature").revision == 2

    again = fields_of(text, "conflict")
    page = client.post(response.context["review_url"], {**again, "review": "1"})
    assert page.status_code == 200
    assert page.context["draft"] == review.context["draft"]
    assert client.post(response.context["save_url"], again).status_code == 302
    assert the(environment, "new-feature").spec.rules[0].rollout == 25_000


def test_save_of_an_invalid_draft__saves_nothing(client: Client, environment: Environment) -> None:
    for draft in ("{", "[]", json.dumps({"value_type": "boolean"})):
        client.post(at(environment, "new-feature/save/"), {"draft": draft, "base": 1})
    assert the(environment, "new-feature").revision == 1


def test_rules_with_unknown_segment_or_bad_conditions__are_refused(
    client: Client, environment: Environment
) -> None:
    url = at(environment, "new-feature/rules/")
    unknown = client.post(url, rows("rules", {**RULE, "segment": "nobody"}, base=1))
    assert unknown.status_code == 422
    for kind in ("json", "folded"):
        conditions = with_conditions('{"operator": "AND", "conditions": []}', kind)
        refused = client.post(url, rows("rules", conditions, base=1))
        assert refused.status_code == 422
        assert "Add at least one condition" in refused.content.decode()


def test_variants_of_a_boolean_flag__cannot_change(
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


def test_no_value_and_metadata__are_edited_reviewed_and_undone(
    client: Client, environment: Environment
) -> None:
    make_constant_flag(environment, "copy", "string", "hi")
    url = at(environment, "copy/variants/")
    values = [{"key": "only", "value": "hi", "no_value": "on"}, {"key": "b", "value": "x"}]
    faulty = client.post(url, rows("variants", *values, base=1, default="only", off="b",
                                   metadata="version = 1"))  # fmt: skip
    assert faulty.status_code == 422
    assert "OFREP uses this key" in faulty.content.decode()
    form = rows("variants", *values, base=1, default="only", off="b", metadata="team = growth")
    review = client.post(url, form)
    assert [(each.label, each.before, each.after) for each in review.context["changes"]] == [
        ("Variant only", '"hi"', "no value"),
        ("Variant b", "none", '"x"'),
        ("When off", "only", "b"),
        ("Metadata team", "none", '"growth"'),
    ]
    save = {"draft": review.context["draft"], "base": 1}
    response = client.post(at(environment, "copy/save/"), save)
    document = the(environment, "copy").document
    assert document["variants"][0] == {"key": "only", "value": None}
    assert document["metadata"] == {"team": "growth"}
    shown = client.get(url).content.decode()
    ticked = r'name="variants-0-no_value"[^>]* checked'
    assert re.search(ticked, shown)
    assert "team = growth</textarea>" in shown
    # The buttons of rows keep both as typed.
    added = rows("variants", *values, row="add", metadata="team = x")
    kept = client.post(url, added).content.decode()
    assert re.search(ticked, kept)
    assert "team = x</textarea>" in kept
    [message] = get_messages(response.wsgi_request)
    client.post(message.extra_tags)
    undone = the(environment, "copy").document
    assert "metadata" not in undone
    assert undone["variants"] == [{"key": "only", "value": "hi"}]


def test_archived_flag__can_be_unarchived(client: Client, environment: Environment) -> None:
    client.post(at(environment, "new_tutorial/archive/"), {"reason": "Done"})
    assert the(environment, "new_tutorial").archived_at
    client.post(at(environment, "new_tutorial/unarchive/"))
    assert the(environment, "new_tutorial").archived_at is None


def test_flag_texts__are_escaped(client: Client, environment: Environment) -> None:
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


# --- Over time ----------------------------------------------------------------------------------


def reviewed(client: Client, environment: Environment, **rule: Any) -> Any:
    """The rule that the review of new-feature would save."""
    url = at(environment, "new-feature/rules/")
    review = client.post(url, rows("rules", {**RULE, **rule}, base=1))
    assert review.status_code == 200, review.content.decode()
    return json.loads(review.context["draft"])["rules"][0]


def test_steps__are_one_per_line_in_the_users_time_zone(
    client: Client, environment: Environment
) -> None:
    user = User.objects.get(pk=client.session["_auth_user_id"])
    User.objects.filter(pk=user.pk).update(time_zone="Europe/Berlin")
    rule = reviewed(
        client, environment, timing="steps", steps="2026-12-01 09:00 25\n2026-12-02 09:30 50.5 %\n"
    )
    assert rule["rollout"] == 25_000
    assert rule["steps"] == [
        {"at": "2026-12-01T08:00:00Z", "rollout": 25_000},
        {"at": "2026-12-02T08:30:00Z", "rollout": 50_500},
    ]


def test_ramp_and_period__are_saved(client: Client, environment: Environment) -> None:
    rule = reviewed(
        client, environment, timing="ramp", rollout="", ramp_from="5", ramp_to="95",
        ramp_start="2026-12-01T09:00", ramp_end="2026-12-11T09:00", start="2026-12-01T00:00",
    )  # fmt: skip
    assert "rollout" not in rule
    assert (rule["ramp"]["from"], rule["ramp"]["to"]) == (5_000, 95_000)
    assert rule["start"] == "2026-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"timing": "steps", "steps": "tomorrow 5"}, "write it like"),
        ({"timing": "steps", "steps": "2026-02-30 09:00 5"}, "write it like"),
        ({"timing": "steps", "steps": ""}, "This field is required"),
        ({"timing": "ramp", "ramp_from": "5"}, "This field is required"),
        ({"timing": "fixed", "rollout": ""}, "This field is required"),
        ({"start": "2026-12-02T00:00", "end": "2026-12-01T00:00"}, "must come after"),
        ({"serve": "*split*", "weight_0": "70", "weight_1": "20"}, "not 90"),
    ],
)
def test_invalid_schedule__is_refused(
    client: Client, environment: Environment, rule: dict[str, str], message: str
) -> None:
    response = client.post(
        at(environment, "new-feature/rules/"), rows("rules", {**RULE, **rule}, base=1)
    )
    assert response.status_code == 422
    assert message in response.content.decode()


def test_schedule__is_unchanged_by_the_editor(client: Client, environment: Environment) -> None:
    start = datetime(2026, 12, 1, 9, tzinfo=UTC)
    scheduled = (
        Rule(id="a", variant="enabled", rollout=5_000, steps=(ScheduleStep(start, 50_000),)),
        Rule(
            id="b", variant="enabled", ramp=Ramp(0, 90_000, start, start.replace(month=12, day=3))
        ),
        Rule(id="c", variant="enabled", start=start, end=start.replace(day=9)),
    )
    document = boolean_document(rules=scheduled)
    flag_create(environment=environment, key="timed", document=document, actor=ACTOR)
    page = client.get(at(environment, "timed/rules/"))
    sent = fields_of(page.content.decode(), "editor")
    review = client.post(at(environment, "timed/rules/"), sent)
    assert json.loads(review.context["draft"])["rules"] == encode_document(document)["rules"]


def in_zone_of(client: Client, zone: str) -> None:
    User.objects.filter(pk=client.session["_auth_user_id"]).update(time_zone=zone)


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca",
        "America/Scoresbysund", "America/St_Johns", "UTC",
    ],
)  # fmt: skip
def test_times_around_a_change_of_clocks__are_unchanged_by_the_editor(
    client: Client, environment: Environment, zone: str
) -> None:
    in_zone_of(client, zone)
    part = timedelta(seconds=7, microseconds=123_456)
    rules = []
    for number, change in enumerate(changes_of(ZoneInfo(zone))[-2:] or [BEGIN]):
        moments = list(around(change, 1))
        steps = [
            ScheduleStep(moment, 1_000 * index + number) for index, moment in enumerate(moments)
        ]
        rules += [
            Rule(id=f"steps-{number}", variant="enabled", rollout=0, steps=tuple(steps)),
            *(
                Rule(
                    id=f"times-{number}-{index}",
                    variant="enabled",
                    ramp=Ramp(0, 90_000, start, end + part),
                    start=start + part,
                    end=end,
                )
                for index, (start, end) in enumerate(pairwise(moments))
            ),
        ]
    document = boolean_document(rules=tuple(rules))
    flag_create(environment=environment, key="timed", document=document, actor=ACTOR)
    url = at(environment, "timed/rules/")
    sent = fields_of(client.get(url).content.decode(), "editor")
    moved = client.post(url, {**sent, "row": "up-1"}).content.decode()
    sent = fields_of(
        client.post(url, {**fields_of(moved, "editor"), "row": "up-1"}).content.decode(), "editor"
    )
    in_zone_of(client, "Asia/Tokyo")  # the form keeps the zone in which it was shown
    review = client.post(url, sent)
    assert json.loads(review.context["draft"]) == encode_document(document)
    assert "No changes." in review.content.decode()


def test_time_that_occurs_twice_or_not_at_all__is_a_question(
    client: Client, environment: Environment
) -> None:
    in_zone_of(client, "Europe/Berlin")
    url = at(environment, "new-feature/rules/")
    typed = {**RULE, "start": "2027-03-28T02:30", "end": "2027-10-31T02:30"}
    asked = client.post(url, rows("rules", typed, base=1))
    html = asked.content.decode()
    assert asked.status_code == 422
    assert "In Europe/Berlin, 28 Mar 2027, 02:30 is skipped, as clocks go forward." in html
    assert "Choose 31 Oct 2027, 02:30 UTC+02:00 or 31 Oct 2027, 02:30 UTC+01:00." in html
    for text in ("03:30 UTC+02:00, 28 Mar 2027", "02:30 UTC+01:00, 31 Oct 2027"):
        assert f"{text}</option>" in html
    sent = fields_of(html, "editor")
    assert sent["rules-0-rollout"] == ["25"]
    assert (sent["rules-0-start"], sent["rules-0-start_exact"]) == (["2027-03-28T02:30"], [""])
    chosen = {
        **sent,
        "rules-0-start_exact": "2027-03-28T03:30:00+02:00",
        "rules-0-end_exact": "2027-10-31T02:30:00+01:00",
    }
    assert all(
        f'<option value="{chosen[f"rules-0-{name}_exact"]}"' in html for name in ("start", "end")
    )
    rule = json.loads(client.post(url, chosen).context["draft"])["rules"][0]
    assert (rule["start"], rule["end"]) == ("2027-03-28T01:30:00Z", "2027-10-31T01:30:00Z")


def test_step_that_occurs_twice_or_not_at_all__is_a_question(
    client: Client, environment: Environment
) -> None:
    in_zone_of(client, "Europe/Berlin")
    steps = "2027-03-28 02:30 25\n2027-10-31 02:30 50"
    typed = {**RULE, "timing": "steps", "steps": steps}
    asked = client.post(at(environment, "new-feature/rules/"), rows("rules", typed, base=1))
    html = asked.content.decode()
    assert asked.status_code == 422
    assert "Write 2027-03-28 01:30 +01:00 25 or 2027-03-28 03:30 +02:00 25." in html
    assert "Write 2027-10-31 02:30 +02:00 50 or 2027-10-31 02:30 +01:00 50." in html
    assert fields_of(html, "editor")["rules-0-steps"] == [steps]
    answer = "2027-03-28 03:30 +02:00 25\n2027-10-31 02:30 +01:00 50\n2027-10-31 03:00 60"
    rule = reviewed(client, environment, timing="steps", steps=answer)
    assert [step["at"] for step in rule["steps"]] == [
        "2027-03-28T01:30:00Z", "2027-10-31T01:30:00Z", "2027-10-31T02:00:00Z",
    ]  # fmt: skip


def test_fixed_percentage__ends_the_schedule(client: Client, environment: Environment) -> None:
    step = ScheduleStep(datetime(2020, 1, 1, tzinfo=UTC), 30_000)
    rule = Rule(id="r", variant="enabled", rollout=0, steps=(step,))
    flag_create(
        environment=environment, key="timed", document=boolean_document(rules=(rule,)), actor=ACTOR
    )
    page = client.get(at(environment, "timed/rules/r/percentage/")).content.decode()
    assert "Now 30 %" in page
    assert "Saving ends the schedule." in page
    client.post(at(environment, "timed/rules/r/percentage/"), {"rollout": "40"})
    saved = the(environment, "timed").spec.rules[0]
    assert (saved.rollout, saved.steps) == (40_000, ())


# --- Prerequisites, order, clones ---------------------------------------------------------------


def test_variants_of_one_prerequisite__are_alternatives(
    client: Client, environment: Environment
) -> None:
    url = at(environment, "new-feature/prerequisites/")
    chosen = [{"gives": f"new_tutorial {variant}"} for variant in ("enabled", "disabled")]
    review = client.post(url, rows("needs", *chosen, base=1))
    assert "new_tutorial serves enabled or disabled" in review.content.decode()
    save = {"draft": review.context["draft"], "base": 1, "back": review.context["back"]}
    client.post(at(environment, "new-feature/save/"), save)
    assert the(environment, "new-feature").spec.prerequisites == (
        Prerequisite("new_tutorial", ("enabled", "disabled")),
    )
    page = client.get(at(environment, "new_tutorial/")).content.decode()
    assert "Required by" in page


def test_cycle__is_refused_and_keeps_the_draft(client: Client, environment: Environment) -> None:
    flag = the(environment, "new-feature")
    needing = msgspec.structs.replace(
        flag.spec, prerequisites=(Prerequisite("new_tutorial", ("enabled",)),)
    )
    flag_update(flag, document=needing, base_revision=1, actor=ACTOR)
    url = at(environment, "new_tutorial/prerequisites/")
    review = client.post(url, rows("needs", {"gives": "new-feature enabled"}, base=1))
    save = {"draft": review.context["draft"], "base": 1, "back": "flag_prerequisites"}
    refused = client.post(at(environment, "new_tutorial/save/"), save)
    assert refused.status_code == 422
    assert "new_tutorial → new-feature → new_tutorial" in refused.content.decode()
    again = client.post(url, {"draft": review.context["draft"], "base": 1})
    assert b'value="new-feature enabled" selected' in again.content


def test_rule__moves_up_unless_changed_since(client: Client, environment: Environment) -> None:
    rules = (Rule(id="a", variant="enabled", rollout=5), Rule(id="b", variant="disabled"))
    flag_create(
        environment=environment, key="two", document=boolean_document(rules=rules), actor=ACTOR
    )
    url = at(environment, "two/rules/b/up/?from=1")
    assert "0 players switch" in client.get(url).content.decode()
    assert client.post(url).status_code == 302
    assert [rule.id for rule in the(environment, "two").spec.rules] == ["b", "a"]
    assert client.post(at(environment, "two/rules/a/up/?from=1")).status_code == 409
    assert "cannot move" in message_of(client.get(at(environment, "two/rules/b/up/")))


def test_clone__is_off_and_may_share_the_salt(client: Client, environment: Environment) -> None:
    url = at(environment, "new_tutorial/clone/")
    assert client.post(url, {"key": "new-feature"}).status_code == 422
    client.post(url, {"key": "other"})
    client.post(url, {"key": "same", "same_players": "on"})
    flag, other, same = (the(environment, key) for key in ("new_tutorial", "other", "same"))
    assert (other.spec.rules, other.spec.enabled) == (flag.spec.rules, False)
    assert (same.salt == flag.salt, other.salt == flag.salt) == (True, False)


# --- Stale --------------------------------------------------------------------------------------


def test_stale_flag__shows_the_reason(client: Client, environment: Environment) -> None:
    now = datetime.now(UTC)
    flag = the(environment, "new_tutorial")
    assert b"Stale</span>" not in client.get(at(environment)).content
    Flag.objects.filter(pk=flag.pk).update(
        created_at=now - timedelta(days=31), expected_end=date(2026, 1, 31)
    )
    page = client.get(at(environment, "new_tutorial/")).content.decode()
    assert "It was expected to end on 31 Jan 2026." in page
    assert "No game has evaluated it for 30 days." in page
    assert b"Stale</span>" in client.get(at(environment)).content
    FlagUsage.objects.create(flag=flag, hour=now, variant="enabled", count=3, last_at=now)
    page = client.get(at(environment, "new_tutorial/")).content.decode()
    assert "No game has asked" not in page
