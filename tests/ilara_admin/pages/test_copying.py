"""The copy of flags and segments to another environment."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.contrib.messages import get_messages
from django.test import Client

from flags.engine.document import FlagDocument, Prerequisite, Rule, boolean_document
from flags.models import Flag
from flags.services import flag_create, flag_set_enabled, flag_update
from ilara_admin.core.audit import Actor
from ilara_admin.models import AuditEntry, Environment, Role
from segments.models import Segment
from segments.services import segment_create
from tests.factories import ACTOR, make_player
from tests.flags.dashboard.test_unreadable import BAD, store
from tests.pages import message_of, squeezed, text_of, url_of

type SignIn = Callable[..., Client]
BO = Actor("Bo")


def rule_of(level: int) -> dict[str, Any]:
    return {
        "operator": "AND",
        "conditions": [{"field": "level", "operator": ">=", "value": level}],
    }


def named(*keys: str) -> dict[str, Any]:
    condition = {"field": "segment", "operator": "in", "value": list(keys)}
    return {"operator": "AND", "conditions": [condition]}


@pytest.fixture
def live(environment: Environment) -> Environment:
    return environment


@pytest.fixture
def test(live: Environment) -> Environment:
    """Has the segment beta-testers, as live."""
    test = live.project.environments.get(slug="test")
    there = Segment.objects.get(environment=live, key="beta-testers")
    segment_create(
        environment=test, key=there.key, name=there.name, description=there.description,
        rule=there.rule, actor=ACTOR,
    )  # fmt: skip
    return test


@pytest.fixture
def ops(staff_client: SignIn) -> Client:
    return staff_client(Role.LIVE_OPS)


def make_segment(environment: Environment, key: str, rule: dict[str, Any]) -> Segment:
    return segment_create(environment=environment, key=key, name="", rule=rule, actor=ACTOR)


def document_for(segment: str, **fields: Any) -> FlagDocument:
    document = boolean_document(rules=(Rule(id="r1", segment=segment, variant="enabled"),))
    return msgspec.structs.replace(document, **fields)


def make_flag(environment: Environment, key: str, document: FlagDocument) -> Flag:
    return flag_create(environment=environment, key=key, document=document, actor=ACTOR)


def review(
    client: Client, url: str, data: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """The page, and the fields that its form posts."""
    response = client.get(url, follow=True) if data is None else client.post(url, data)
    assert response.status_code == 200, response.status_code
    html = response.content.decode()
    form = html[html.index('id="copy"') :]
    seen = re.search(r'name="seen" value="([^"]*)"', form)
    assert seen
    fields: dict[str, Any] = {
        "seen": seen[1],
        "key": re.findall(r'name="key" value="([^"]*)"', form),
        "along": re.findall(r'name="along" value="([^"]*)"[^>]* checked', form),
    }
    return " ".join(squeezed(html).split()), fields


def copy_url(to: Environment, source: str, *keys: str, kind: str = "flag") -> str:
    query = "&".join(f"key={key}" for key in keys)
    return f"{url_of(to, f'{kind}_copy')}?from={source}&{query}"


def test_copy__creates_the_flag_and_its_missing_segments(
    ops: Client, live: Environment, test: Environment
) -> None:
    make_player(live, "a", attributes={"level": 5})
    make_player(live, "b", attributes={"level": 50})
    make_segment(test, "high", rule_of(40))
    make_segment(test, "core", named("high"))
    source = make_flag(test, "shop", document_for("core", enabled=True))

    link = f"{url_of(test, 'flag_copy')}?key=shop&to=live"
    html, fields = review(ops, link)
    assert "New in live" in html
    assert "core get enabled" in html
    assert fields["along"] == ["segments:core", "segments:high"]
    assert "level is at least 40" in html
    assert "It is off until you turn it on" in html
    assert "Turn it on in live, too" in html
    html, _ = review(ops, copy_url(live, "test"), fields | {"state": "1"})
    assert "1 of 2 players switches" in html

    response = ops.post(copy_url(live, "test"), fields | {"save": "1", "reason": "Launch"})
    assert response["Location"] == url_of(live, "flag_detail", "shop")
    copy = Flag.objects.get(environment=live, key="shop")
    assert not copy.enabled
    assert copy.salt == source.salt
    assert copy.document == {**source.document, "enabled": False}
    assert Segment.objects.get(environment=live, key="core").rule == named("high")
    entries = AuditEntry.objects.filter(environment=live, reason="Launch")
    assert {entry.action for entry in entries} == {"segment.created", "flag.created"}

    [toast] = get_messages(response.wsgi_request)
    ops.post(toast.extra_tags)
    assert not Flag.objects.filter(environment=live, key="shop").exists()
    assert not Segment.objects.filter(environment=live, key__in=["core", "high"]).exists()


def test_copy_without_a_missing_segment__is_refused(
    ops: Client, live: Environment, test: Environment
) -> None:
    make_segment(test, "high", rule_of(40))
    make_flag(test, "shop", document_for("high"))
    _, fields = review(ops, copy_url(live, "test", "shop"))
    for save in ({}, {"save": "1"}):
        response = ops.post(copy_url(live, "test"), {**fields, "along": [], **save})
        assert response.status_code == 422
        html = squeezed(response.content.decode())
        assert "There is no segment “high” in this environment." in html
        assert 'name="save"' not in html
    assert not Flag.objects.filter(environment=live, key="shop").exists()


def test_copy__keeps_salt_and_state_of_a_flag_that_exists(
    ops: Client, live: Environment, test: Environment
) -> None:
    there = make_flag(live, "shop", boolean_document(enabled=True))
    make_flag(test, "shop", document_for("beta-testers"))
    html, fields = review(ops, copy_url(live, "test", "shop"))
    assert "off in test, on in live" in html
    ops.post(copy_url(live, "test"), fields | {"save": "1"})
    flag = Flag.objects.get(pk=there.pk)
    assert (flag.salt, flag.revision, flag.enabled) == (there.salt, 2, True)
    assert flag.spec.rules[0].segment == "beta-testers"

    html, fields = review(ops, copy_url(live, "test", "shop"))
    assert "The same in live." in html
    ops.post(copy_url(live, "test"), fields | {"save": "1", "state": "1"})
    assert not Flag.objects.get(pk=there.pk).enabled


def test_segment_that_differs__is_copied_only_if_chosen(
    ops: Client, live: Environment, test: Environment
) -> None:
    """The numbers are those of brute force: who is in the changed segment, and who was."""
    for level in range(10):
        make_player(live, f"p{level}", attributes={"level": level})
    for environment, level in ((live, 8), (test, 4)):
        make_segment(environment, "high", rule_of(level))
        make_segment(environment, "core", named("high"))
        make_flag(environment, "shop", document_for("core", enabled=True))
    make_flag(live, "other", document_for("high", enabled=True))
    make_flag(test, "new", document_for("core", enabled=True))

    html, fields = review(ops, copy_url(live, "test", "new") + "&key=shop")
    assert fields["along"] == []
    assert "level is at least 8 → level is at least 4" not in html  # behind a segment that is equal
    html, fields = review(ops, copy_url(live, "test", "high", kind="segment"))
    assert "<del>level is at least 8</del> → <ins>level is at least 4</ins>" in html
    for key in ("shop", "other"):
        assert re.search(f"{key}</a> uses it. 4 of 10 players switch.", html)
    response = ops.post(copy_url(live, "test", kind="segment"), fields | {"save": "1"})
    assert response.status_code == 302
    assert Segment.objects.get(environment=live, key="high").rule == rule_of(4)

    make_flag(test, "direct", document_for("high", enabled=True))
    Segment.objects.filter(environment=live, key="high").update(rule=rule_of(9))
    html, fields = review(ops, copy_url(live, "test", "direct"))
    assert "rule: level is at least 9 → level is at least 4" in html
    chosen = fields | {"along": ["segments:high"], "state": "1"}
    html, _ = review(ops, copy_url(live, "test"), chosen)
    assert "6 of 10 players switch" in html  # the new flag reads the segment as it will be


def test_flags_that_are_required__are_copied_along(
    ops: Client, live: Environment, test: Environment
) -> None:
    make_segment(test, "high", rule_of(4))
    make_flag(test, "base", document_for("high"))
    needs = (Prerequisite(flag="base", variants=("enabled",)),)
    make_flag(test, "shop", boolean_document())
    flag = Flag.objects.get(environment=test, key="shop")
    document = msgspec.structs.replace(flag.spec, prerequisites=needs)
    flag_update(flag, document=document, base_revision=1, actor=ACTOR)
    _, fields = review(ops, copy_url(live, "test", "shop"))
    assert fields["along"] == ["flags:base", "segments:high"]
    without = ops.post(copy_url(live, "test"), {**fields, "along": ["segments:high"]})
    assert "There is no flag “base” in this environment." in text_of(without)
    ops.post(copy_url(live, "test"), fields | {"save": "1"})
    assert Flag.objects.filter(environment=live, key__in=["base", "shop"]).count() == 2


def test_selected_flags__are_copied_and_undone_together(
    ops: Client, live: Environment, test: Environment
) -> None:
    keys = [f"flag-{number}" for number in range(3)]
    for key in keys:
        make_flag(test, key, boolean_document())
    start = ops.post(url_of(test, "flag_copy"), {"key": keys, "to": "live"})
    assert start.status_code == 307
    html, fields = review(ops, start["Location"], {"key": keys, "to": "live"})
    assert html.count("New in live") == 3
    response = ops.post(start["Location"], fields | {"save": "1"})
    assert response["Location"] == url_of(live, "flag_list")
    assert message_of(response).startswith("Copied 3 flags to live.")
    assert Flag.objects.filter(environment=live, key__in=keys).count() == 3
    [toast] = get_messages(response.wsgi_request)
    ops.post(toast.extra_tags)
    assert not Flag.objects.filter(environment=live, key__in=keys).exists()


def test_target_changed_since_the_review__is_a_conflict(
    ops: Client, live: Environment, test: Environment
) -> None:
    theirs = make_flag(live, "shop", boolean_document())
    make_flag(test, "shop", document_for("beta-testers"))
    _, fields = review(ops, copy_url(live, "test", "shop"))
    flag_set_enabled(theirs, True, actor=BO)
    response = ops.post(copy_url(live, "test"), fields | {"save": "1"})
    assert response.status_code == 409
    html = squeezed(text_of(response))
    assert "shop was changed" in html
    assert "shop: State" in html
    assert Flag.objects.get(pk=theirs.pk).revision == 2

    seen = re.search(r'name="seen" value="([^"]*)"', html)
    assert seen
    ops.post(copy_url(live, "test"), fields | {"save": "1", "seen": seen[1]})  # overwrite
    flag = Flag.objects.get(pk=theirs.pk)
    assert (flag.revision, len(flag.spec.rules), flag.enabled) == (3, 1, True)


def test_source_changed_since_the_review__is_shown_again(
    ops: Client, live: Environment, test: Environment
) -> None:
    source = make_flag(test, "shop", boolean_document())
    _, fields = review(ops, copy_url(live, "test", "shop"))
    flag_update(source, document=document_for("beta-testers"), base_revision=1, actor=BO)
    response = ops.post(copy_url(live, "test"), fields | {"save": "1"})
    assert response.status_code == 422
    assert "shop was changed in test since" in text_of(response)
    assert not Flag.objects.filter(environment=live, key="shop").exists()


@pytest.mark.parametrize("query", ["", "?key=x", "?key=x&to=live", "?key=x&to=nowhere", "?from=a"])
def test_copy_of_nothing_or_to_nowhere__leads_back(
    query: str, ops: Client, live: Environment
) -> None:
    response = ops.get(url_of(live, "flag_copy") + query)
    assert response["Location"] == url_of(live, "flag_list")
    assert message_of(response)


def test_compare__lists_what_differs(ops: Client, live: Environment, test: Environment) -> None:
    make_flag(live, "shop", boolean_document(enabled=True))
    make_flag(test, "shop", document_for("beta-testers"))
    make_flag(test, "only-here", boolean_document())
    make_segment(live, "high", rule_of(4))
    html = squeezed(text_of(ops.get(url_of(test, "environment_compare", "live"))))
    rows = [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in
            re.findall(r"<tr>.*?</tr>", html, re.DOTALL)]  # fmt: skip
    assert "shop State off on" in rows
    assert "only-here All of it boolean, off; otherwise disabled Missing" in rows
    assert "high All of it Missing level is at least 4" in rows
    one = text_of(ops.get(url_of(test, "flag_environment_compare", "shop", "live")))
    assert "Rule 1" in one
    assert "only-here" not in one
    assert ops.get(url_of(test, "flag_environment_compare", "nothing", "live")).status_code == 404
    assert ops.get(url_of(test, "environment_compare", "nowhere")).status_code == 404


def test_compare__has_pages(ops: Client, live: Environment, test: Environment) -> None:
    for number in range(30):
        flag_create(
            environment=live, key=f"many-{number:02}", document=boolean_document(), actor=ACTOR
        )
    url = url_of(test, "environment_compare", "live")
    first, second = text_of(ops.get(url)), text_of(ops.get(f"{url}?start=25"))
    keys = [re.findall(r'class="mono" href="[^"]*">(many-\d\d)<', html) for html in (first, second)]
    assert sorted([*keys[0], *keys[1]]) == [f"many-{number:02}" for number in range(30)]
    assert "?start=25" in first
    assert "?start=0" in second
    for bad in ("-1", "x", "9" * 30):
        assert ops.get(f"{url}?start={bad}").status_code == 200


def test_flag_page__shows_all_environments(
    ops: Client, live: Environment, test: Environment
) -> None:
    make_flag(test, "shop", document_for("beta-testers", enabled=True))
    html = squeezed(text_of(ops.get(url_of(test, "flag_detail", "shop"))))
    panel = html[html.index('id="environments"') : html.index("History</h2>")]
    assert "beta-testers get enabled; otherwise disabled" in panel
    assert "Missing" in panel
    assert f"{url_of(test, 'flag_copy')}?key=shop&amp;to=live" in panel


@pytest.mark.parametrize("kind", ["flag", "segment"])
def test_missing_here__offers_a_copy(
    kind: str, ops: Client, staff_client: SignIn, live: Environment, test: Environment
) -> None:
    if kind == "flag":
        make_flag(test, "shop", boolean_document())
    else:
        make_segment(test, "shop", rule_of(1))
    url = url_of(live, f"{kind}_detail", "shop")
    response = ops.get(url)
    assert response.status_code == 404
    html = squeezed(text_of(response))
    assert f'There is no {kind} <span class="mono">shop</span> in' in html
    link = f"{url_of(live, f'{kind}_copy')}?from=test&amp;key=shop"
    assert link in html
    assert link not in text_of(staff_client(Role.VIEWER).get(url))
    assert "New in live" in review(ops, link.replace("&amp;", "&"))[0]
    gone = ops.get(url_of(live, f"{kind}_detail", "nowhere"))
    assert "Page not found" in text_of(gone)


def test_viewer__may_not_copy(staff_client: SignIn, live: Environment) -> None:
    assert staff_client(Role.SUPPORT).get(copy_url(live, "test", "x")).status_code == 403


@pytest.mark.parametrize("name", BAD)
def test_unreadable_flag__does_not_break_the_pages(
    name: str, ops: Client, live: Environment, test: Environment
) -> None:
    make_flag(test, "shop", document_for("beta-testers"))
    make_flag(test, "new_tutorial", boolean_document())
    store(live, **BAD[name][0])
    assert "new_tutorial" in text_of(ops.get(url_of(test, "environment_compare", "live")))
    assert "New in live" in review(ops, copy_url(live, "test", "shop"))[0]
    for url in (copy_url(live, "test", "new_tutorial"), copy_url(test, "live", "new_tutorial")):
        assert ops.get(url).status_code in (200, 302)
    assert "annot be read" in text_of(ops.get(url_of(test, "flag_detail", "new_tutorial")))
