"""A rule reads the same wherever staff meet it."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from flags.engine.document import Ramp, Rule, Slice, boolean_document, encode_document
from flags.engine.sentences import sentence
from flags.models import Flag
from flags.services import flag_update
from ilara_admin.config import words
from ilara_admin.models import Environment, Role, User
from tests.factories import ACTOR
from tests.pages import url_of

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(microsecond=0)
LATER = NOW + timedelta(days=400)
RAMP = Ramp(from_=50_000, to=100_000, start=NOW + timedelta(days=1), end=LATER)
RULES = {
    "percentage": {"segment": "beta-testers", "variant": "enabled", "rollout": 12_500},
    "split": {"split": (Slice("enabled", 0, 30_000), Slice("disabled", 30_000, 100_000))},
    "ramp": {"segment": "beta-testers", "variant": "enabled", "ramp": RAMP},
    "conditions": {
        "variant": "enabled",
        "end": LATER,
        "conditions": {
            "operator": "AND",
            "conditions": [{"field": "level", "operator": ">=", "value": 40}],
        },
    },
}


def text_of(html: str) -> str:
    """The words of a page. Elements inside a line do not separate words."""
    plain = re.sub(r"</?(?:a|span|ins|del)\b[^>]*>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", plain)))


@pytest.mark.parametrize("kind", RULES)
def test_sentence_of_a_rule__is_the_same_everywhere(
    kind: str, environment: Environment, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(Role.ADMIN)
    User.objects.update(time_zone="Europe/Berlin")
    flag = Flag.objects.get(environment=environment, key="new_tutorial")
    rules: dict[str, Any] = RULES[kind]
    draft = msgspec.structs.replace(flag.spec, rules=(Rule(id="beta", **rules),))
    with timezone.override("Europe/Berlin"):
        wanted = sentence(draft.rules[0], timezone.localtime())
    posted = {"draft": msgspec.json.encode(encode_document(draft)).decode(), "base": "1"}
    review = client.post(url_of(environment, "flag_review", flag.key), posted)
    flag, entry = flag_update(flag, document=draft, base_revision=1, actor=ACTOR)
    assert entry
    page = client.get(url_of(environment, "flag_detail", flag.key)).content.decode()
    rules_part, history = page.split('id="history"')
    places = {
        "review": review.content.decode(),
        "page": rules_part,
        "history": history,
        "list": client.get(url_of(environment, "flag_list")).content.decode(),
        "audit": client.get(url_of(environment, "audit_list")).content.decode(),
        "overview": client.get(url_of(environment, "overview")).content.decode(),
        "undo": client.get(url_of(environment, "audit_undo", entry.pk)).content.decode(),
    }
    lacking = {name for name, html in places.items() if wanted.lower() not in text_of(html).lower()}
    assert lacking == set(), wanted
    assert "rules[0]" not in "".join(places.values())


def test_sentence_in_a_plan__names_utc() -> None:
    rule = Rule(id="r", **RULES["ramp"])
    entry = encode_document(boolean_document(rules=(rule,)))
    details = {"name": "f", "description": "", "owner": "", "expected_end": "", "archived": False}
    lines = words.introduce("flags", {**details, **entry})
    assert sentence(rule, timezone.now()) in lines
    assert "UTC" in lines[1]
