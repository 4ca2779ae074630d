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
from segments.services import segment_create, segment_update
from tests.factories import ACTOR, make_player
from tests.pages import squeezed, url_of

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
    return live.project.environments.get(slug="test")


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
    return squeezed(html), fields


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
    assert "core: enabled" in html
    assert fields["along"] == ["segments:core", "segments:high"]
    assert "level is at least 40" in html
    assert "0 players switch" in html  # it stays off
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
