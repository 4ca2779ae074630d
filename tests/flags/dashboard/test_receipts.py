"""The receipt on the page of a flag."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from flags.dashboard.receipts import typed_attributes
from flags.engine.document import Rule, boolean_document
from flags.models import Flag, FlagRevision
from flags.overrides import override_set
from flags.services import flag_set_enabled, flag_update
from ilara_admin.models import Environment, Role
from tests.factories import ACTOR, make_player
from tests.pages import HTMX, signed_in, squeezed, text_of, url_of


@pytest.fixture
def client(db: None) -> Client:
    return signed_in(Role.VIEWER)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    return Flag.objects.select_related("environment").get(
        environment=environment, key="new_tutorial"
    )


def receipt(client: Client, flag: Flag, **fields: str) -> str:
    url = url_of(flag.environment, "flag_detail", flag.key)
    html = text_of(client.get(url, fields, headers=HTMX))
    assert html.strip().startswith('<div id="try"')
    return squeezed(html.strip())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ('{"level": 40, "vip": true}', {"level": 40, "vip": True}),
        ("level: 40\n\n country : DE\nvip: true", {"level": 40, "country": "DE", "vip": True}),
        ('name: "40"\nlist: [1, 2]\nurl: https://a', {"name": "40", "list": [1, 2],
         "url": "https://a"}),
    ],
)  # fmt: skip
def test_typed_attributes__are_lines_or_json(text: str, found: dict[str, Any]) -> None:
    assert typed_attributes(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"level": }', "This is not a JSON object"),
        ("level: 40\nlevel 40", "Line 2: write a name and a value"),
        ("level:", "Line 1: write a name and a value"),
        (": 40", "Line 1: write a name and a value"),
        ("{" * 2_000, "This is not a JSON object"),
    ],
)
def test_attributes_that_cannot_be_read__are_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        typed_attributes(text)


def test_made_up_attributes__need_no_player(client: Client, flag: Flag) -> None:
    yes = receipt(client, flag, attributes="level: 45")
    assert "Rule 1: in segment beta-testers." in yes
    assert "made up" in yes
    no = receipt(client, flag, player="nobody", attributes="level: 39")
    assert "level must be at least 40 (actual: 39)" in no
    assert "nobody" in no


def test_attributes_of_a_player__are_replaced_for_the_receipt_only(
    client: Client, flag: Flag, environment: Environment
) -> None:
    player = make_player(environment, "ada", attributes={"level": 39})
    assert "level must be at least 40" in receipt(client, flag, player="ada")
    assert "in segment beta-testers" in receipt(
        client, flag, player=" ada ", attributes='{"level": 45}'
    )
    player.refresh_from_db()
    assert player.attributes == {"level": 39}


def test_personal_values__are_masked_below_support(
    client: Client, flag: Flag, environment: Environment
) -> None:
    make_player(environment, "ada", email="ada@example.com")
    condition = {"field": "email", "operator": "ends_with", "value": ".org"}
    rules = (
        Rule(id="r", variant="enabled", conditions={"operator": "AND", "conditions": [condition]}),
    )
    document = boolean_document(enabled=True, rules=rules)
    flag_update(flag, document=document, base_revision=1, actor=ACTOR)
    assert "ada@example.com" not in receipt(client, flag, player="ada")
    assert "(actual: “a***”)" in receipt(client, flag, player="ada")
    assert "ada@example.com" in receipt(signed_in(Role.SUPPORT), flag, player="ada")


def test_unknown_player__says_so(client: Client, flag: Flag) -> None:
    assert "No player has this external id." in receipt(client, flag, player="nobody")
    assert receipt(client, flag, player="", attributes="") == '<div id="try" role="status"></div>'


def test_receipt_of_an_earlier_time__uses_the_flag_of_then(
    client: Client, flag: Flag, environment: Environment
) -> None:
    make_player(environment, "ada", attributes={"level": 45})
    FlagRevision.objects.filter(flag=flag).update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
    flag, _ = flag_set_enabled(flag, False, actor=ACTOR)
    assert "The flag is off." in receipt(client, flag, player="ada")
    then = receipt(client, flag, player="ada", at="2026-02-01T12:00")
    assert "Rule 1: in segment beta-testers." in then
    assert "Receipt, revision 1" in then
    assert "1 Feb 2026, 12:00</time>" in then
    before = receipt(client, flag, player="ada", at="2025-12-31T12:00")
    assert "The flag did not exist then" in before
    assert "At: Give a date" in receipt(client, flag, player="ada", at="soon")


def test_receipt_of_a_later_time__follows_the_schedule(client: Client, flag: Flag) -> None:
    from flags.engine.document import Rule, ScheduleStep, boolean_document

    soon = datetime.now(UTC) + timedelta(days=10)
    rule = Rule(id="r", variant="enabled", rollout=0, steps=(ScheduleStep(soon, 100_000),))
    document = boolean_document(enabled=True, rules=(rule,))
    flag, _ = flag_update(flag, document=document, base_revision=1, actor=ACTOR)
    typed = {"attributes": "level: 1"}
    assert "outside its 0 %" in receipt(client, flag, **typed)
    later = f"{soon + timedelta(days=1):%Y-%m-%dT%H:%M}"
    assert "Rule 1: everyone." in receipt(client, flag, **typed, at=later)


def test_override__decides_for_the_player_only(
    client: Client, flag: Flag, environment: Environment
) -> None:
    player = make_player(environment, "ada")
    override_set(flag, player, "enabled", actor=ACTOR)
    assert "Set for this player." in receipt(client, flag, player="ada")
    assert "Set for this player." not in receipt(client, flag, attributes="level: 1")


def test_page_without_javascript__keeps_what_was_typed(client: Client, flag: Flag) -> None:
    url = url_of(flag.environment, "flag_detail", flag.key)
    html = text_of(client.get(url, {"player": "bo", "attributes": "level: 45", "at": ""}))
    assert 'value="bo"' in html
    assert "level: 45</textarea>" in html
    assert "in segment beta-testers" in html
    assert "<html" in html
