"""Dialogs and reviews name the flags that depend on the changed one, and what happens there."""

import re
from collections.abc import Callable

import msgspec
import pytest
from django.test import Client

from flags.engine.document import (
    FlagDocument,
    Prerequisite,
    Rule,
    Variant,
    boolean_document,
    decode_document,
)
from flags.models import Flag
from flags.services import flag_create, flag_set_archived, flag_set_enabled
from ilara_admin.models import AuditAction, AuditEntry, Environment, Role
from players.models import Player
from tests.api_client import FLAGS, Api
from tests.factories import ACTOR, make_player
from tests.pages import text_of, url_of

pytestmark = pytest.mark.django_db
EVERYONE = (Rule(id="r", variant="enabled"),)


def needing(key: str = "", variant: str = "enabled", enabled: bool = True) -> FlagDocument:
    document = boolean_document(enabled=enabled, rules=EVERYONE)
    items = (Prerequisite(key, (variant,)),) if key else ()
    return msgspec.structs.replace(document, prerequisites=items)


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client(Role.LIVE_OPS)


@pytest.fixture
def flag(environment: Environment) -> Flag:
    """`base` is needed by `shop`, which `offers` needs; `sleeper` needs it, but is off; `fallback`
    needs it to be off."""
    documents = {
        "base": needing(),
        "shop": needing("base"),
        "offers": needing("shop"),
        "sleeper": needing("base", enabled=False),
        "fallback": needing("base", "disabled"),
    }
    for key, document in documents.items():
        flag_create(environment=environment, key=key, document=document, actor=ACTOR)
    for number in range(3):
        make_player(environment, f"p-{number}")
    return Flag.objects.get(environment=environment, key="base")


def affected(html: str) -> dict[str, str]:
    """What the dialog or review says, by flag."""
    found = re.findall(r'<li><a class="mono" href="[^"]*">([^<]+)</a>\s*(.*?)</li>', html, re.S)
    return {key: " ".join(text.split()).replace("&quot;", '"') for key, text in found}


OFF = {
    "shop": "Only if base serves enabled. It will serve false to everyone. "
    "3 of 3 players switch there.",
    "sleeper": "Only if base serves enabled. It is off, so nothing changes for its players now.",
    "fallback": "Only if base serves disabled. 3 of 3 players switch there.",
    "offers": "Through shop: only if shop serves enabled. It will serve false to everyone. "
    "3 of 3 players switch there.",
}


def test_turning_off__names_the_flags_and_is_one_confirmation_away(
    client: Client, flag: Flag, public_api: Api
) -> None:
    url = url_of(flag.environment, "flag_switch", "base", "off")
    html = text_of(client.get(url))
    assert "Flags that depend on it" in html
    assert affected(html) == OFF
    player = Player.objects.filter(environment=flag.environment)[0]
    asked = {"player_id": str(player.pk)}
    before = public_api.post(f"{FLAGS}/evaluate", asked).data["flags"]
    assert client.post(url).status_code == 302
    after = public_api.post(f"{FLAGS}/evaluate", asked).data["flags"]
    switched = {key for key in before if before[key]["value"] != after[key]["value"]}
    assert switched == {"base", "shop", "offers", "fallback"}


def test_archiving_and_their_opposites__name_the_flags(client: Client, flag: Flag) -> None:
    archive = url_of(flag.environment, "flag_archive", "base", "archive")
    assert affected(text_of(client.get(archive))) == OFF
    flag_set_archived(flag, True, actor=ACTOR)
    html = text_of(client.get(url_of(flag.environment, "flag_archive", "base", "unarchive")))
    back = {
        "shop": "Only if base serves enabled. 3 of 3 players switch there.",
        "sleeper": OFF["sleeper"],
        "fallback": OFF["fallback"],
        "offers": "Through shop: only if shop serves enabled. 3 of 3 players switch there.",
    }
    assert affected(html) == back
    flag_set_archived(flag, False, actor=ACTOR)
    flag_set_enabled(flag, False, actor=ACTOR)
    assert (
        affected(text_of(client.get(url_of(flag.environment, "flag_switch", "base", "on")))) == back
    )
    restore = url_of(flag.environment, "flag_restore", "base", 1)
    assert affected(text_of(client.get(restore))) == back


def test_undo__asks_first_where_other_flags_change(client: Client, flag: Flag) -> None:
    flag_set_enabled(flag, False, actor=ACTOR)
    flag_set_enabled(flag, True, actor=ACTOR)
    entry = AuditEntry.objects.filter(action=AuditAction.FLAG_ENABLED)[0]
    url = url_of(flag.environment, "audit_undo", entry.pk)
    toast = client.post(url)
    assert toast.status_code == 200
    changed = {key: text for key, text in OFF.items() if key != "sleeper"}
    assert affected(text_of(toast)) == affected(text_of(client.get(url))) == changed
    flag.refresh_from_db()
    assert flag.enabled
    assert client.post(url, {"asked": "1"}).status_code == 302
    flag.refresh_from_db()
    assert not flag.enabled
    other = Flag.objects.get(environment=flag.environment, key="offers")
    _, entry = flag_set_enabled(other, False, actor=ACTOR)
    assert client.post(url_of(flag.environment, "audit_undo", entry.pk)).status_code == 302


def test_review_and_percentage__show_the_switches_of_other_flags(
    client: Client, flag: Flag
) -> None:
    data = {
        "rules-TOTAL_FORMS": 1, "rules-INITIAL_FORMS": 0, "base": 1, "rules-0-id": "r",
        "rules-0-segment": "*everyone*", "rules-0-serve": "enabled", "rules-0-rollout": "0",
        "rules-0-timing": "fixed",
    }  # fmt: skip
    review = text_of(client.post(url_of(flag.environment, "flag_rules", "base"), data))
    assert set(affected(review)) == {"shop", "offers", "fallback"}
    url = url_of(flag.environment, "flag_rollout", "base", "r")
    preview = text_of(client.post(url, {"rollout": "0", "ask": "1"}))
    assert affected(preview)["shop"] == "Only if base serves enabled. 3 of 3 players switch there."
    assert "sleeper" not in preview


def test_variant_that_others_require__is_named_at_the_review(
    client: Client, environment: Environment
) -> None:
    document = decode_document(
        {
            "value_type": "string", "enabled": True, "default": "a", "off": "a",
            "variants": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}],
            "rules": [{"id": "r", "variant": "b"}],
        }
    )  # fmt: skip
    flag = flag_create(environment=environment, key="base", document=document, actor=ACTOR)
    for key in ("shop", "offers"):
        flag_create(environment=environment, key=key, document=needing("base", "b"), actor=ACTOR)
    make_player(environment)
    renamed = msgspec.structs.replace(
        document,
        variants=(document.variants[0], Variant("c", "2")),
        rules=(Rule(id="r", variant="c"),),
    )
    url = url_of(environment, "flag_review", "base")
    draft = msgspec.json.encode(renamed).decode()
    page = client.post(url, {"draft": draft, "base": 1, "back": "flag_variants"})
    html = text_of(page)
    assert page.status_code == 422
    assert "The flag offers requires b of this flag. The flag shop requires b of this flag." in html
    assert "Change them first." in html
    assert affected(html)["shop"] == (
        "Only if base serves b. It will serve false to everyone. 1 of 1 players switches there."
    )
    assert flag.revision == 1


def test_unreadable_flag__still_turns_off_and_names_the_flags(client: Client, flag: Flag) -> None:
    broken = {**flag.document, "rules": [{"id": "r", "odd": 1}]}
    Flag.objects.filter(pk=flag.pk).update(document=broken)
    url = url_of(flag.environment, "flag_switch", "base", "off")
    html = text_of(client.get(url))
    assert affected(html)["shop"] == "Only if base serves enabled."
    assert client.post(url).status_code == 302


def test_page__shows_which_flags_need_it(client: Client, flag: Flag) -> None:
    html = " ".join(text_of(client.get(url_of(flag.environment, "flag_detail", "base"))).split())
    assert "Required by" in html
    for key, how in (("shop", "for enabled"), ("offers", "through shop")):
        assert re.search(rf'>{key}</a> <span class="muted"> {how} </span>', html)


def test_flag_without_dependents__shows_none(client: Client, flag: Flag) -> None:
    html = text_of(client.get(url_of(flag.environment, "flag_switch", "offers", "off")))
    assert affected(html) == {}
    assert "depend" not in html
