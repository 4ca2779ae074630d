"""Names: something to see, no space outside."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError

from flags.engine.document import boolean_document
from flags.services import flag_create, flag_update
from ilara_admin.api.json_schema import LINE_NAME, NAME
from ilara_admin.core import projects
from ilara_admin.core.api_keys import api_key_create
from ilara_admin.core.names import BLANKS, NO_VISIBLE, OUTER_SPACE, SPACE_CLASS, name_problem
from ilara_admin.models import Environment, KeyKind
from players.aliases import player_alias_link
from segments.services import segment_create
from tests.factories import ACTOR, make_player
from tests.inputs import inputs

RULE = {"operator": "AND", "conditions": [{"field": "level", "operator": ">", "value": 1}]}
OUTER = {"Zs", "Zl", "Zp", "Cc"}


@pytest.mark.parametrize("given", inputs("names"), ids=lambda given: given["about"])
def test_name__needs_something_to_see_and_no_space_outside(given: dict[str, Any]) -> None:
    assert (name_problem(given["name"]) is None) is given["fine"]


def test_every_separator_control_and_format_character__counts_as_space() -> None:
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in OUTER or character in BLANKS:
            assert name_problem(character) == NO_VISIBLE, hex(number)
            assert name_problem(f"a{character}") == OUTER_SPACE, hex(number)
            assert name_problem(f"{character}a") == OUTER_SPACE, hex(number)
            assert name_problem(f"a{character}a") is None, hex(number)


def test_every_letter_digit_and_sign__is_a_name() -> None:
    hidden = {*"\u034f\u17b4\u17b5\u16fe4", *BLANKS}
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character)[0] in "LNPS" and character not in hidden:
            assert name_problem(character) is None, hex(number)


def test_spaces__are_all_white_space_and_no_mark_of_direction() -> None:
    space = re.compile(f"[{SPACE_CLASS}]")
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp") or character in BLANKS:
            assert space.match(character), hex(number)
        if unicodedata.bidirectional(character) in BIDI:
            assert not space.match(character), hex(number)


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize("given", inputs("names"), ids=lambda given: given["about"])
def test_published_pattern__refuses_no_name_that_is_fine(given: dict[str, Any]) -> None:
    for pattern in (NAME, LINE_NAME):
        if given["fine"]:
            assert re.search(pattern, given["name"])
    # A pattern cannot tell what is drawn; it knows the spaces outside.
    if name_problem(given["name"]) == OUTER_SPACE:
        assert not re.search(NAME, given["name"])


@pytest.mark.parametrize("name", ["\u200b", "shop\u200b", "\u3164"])
def test_typed_name__is_refused_for_every_object(name: str, environment: Environment) -> None:
    flag = flag_create(
        environment=environment, key="shop", document=boolean_document(), actor=ACTOR
    )
    acts: list[Callable[[], object]] = [
        lambda: projects.project_create(name=name, slug="shop", actor=ACTOR),
        lambda: projects.project_update(environment.project, name=name, actor=ACTOR),
        lambda: api_key_create(
            environment=environment, kind=KeyKind.PUBLIC, name=name, actor=ACTOR
        ),
        lambda: segment_create(
            environment=environment, key="s", name=name, rule=RULE, actor=ACTOR
        ),
        lambda: flag_create(
            environment=environment, key="f", name=name, document=flag.spec, actor=ACTOR
        ),
        lambda: flag_update(
            flag, document=flag.spec, base_revision=1, actor=ACTOR, details={"name": name}
        ),
        lambda: player_alias_link(make_player(environment, f"p-{uuid4()}"), name, actor=ACTOR),
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(ValidationError, match="must"):
            act()
