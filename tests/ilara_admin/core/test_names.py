"""Names: something to see, no space outside."""

import re
import unicodedata
from typing import Any

import pytest

from ilara_admin.api.json_schema import LINE_NAME, NAME
from ilara_admin.core.names import BLANKS, NO_VISIBLE, OUTER_SPACE, SPACES, name_problem
from tests.inputs import inputs

OUTER = {"Zs", "Zl", "Zp", "Cc", "Cf"}


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


def test_published_class__has_exactly_the_spaces_of_the_first_plane() -> None:
    published = re.compile(f"[{SPACES}]")
    for number in range(0x10000):
        character = chr(number)
        is_space = unicodedata.category(character) in OUTER or character in BLANKS
        assert bool(published.match(character)) is is_space, hex(number)


@pytest.mark.parametrize("given", inputs("names"), ids=lambda given: given["about"])
def test_published_pattern__refuses_no_name_that_is_fine(given: dict[str, Any]) -> None:
    for pattern in (NAME, LINE_NAME):
        if given["fine"]:
            assert re.search(pattern, given["name"])
    # A pattern cannot tell what is drawn; it knows the spaces outside.
    if name_problem(given["name"]) == OUTER_SPACE:
        assert not re.search(NAME, given["name"])
