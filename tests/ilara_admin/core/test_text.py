"""Trimming the texts of clients, and showing them where they cannot disturb."""

import json
from unicodedata import bidirectional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilara_admin.core.text import columns, isolated, trim, visible

# A combining accent, an emoji of several parts, a Persian word with a joiner, Hebrew.
INNOCENT = "e\u0301 👨\u200d👩\u200d👧 \u0645\u06cc\u200c\u062e\u0648 \u05e9\u05dc\u05d5\u05dd"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    "text",
    ["t3 ", " t3", "\u00a0t3\u2007", "\u200bt3\ufeff", "t3\r\n", "\u2068t3\u2069", "\u3000t3"],
)
def test_trim__removes_invisible_outer_space(text: str) -> None:
    assert trim(text) == "t3"


def test_trim__keeps_the_inside_and_marks_of_direction() -> None:
    assert trim("a\u00a0 \u200bb") == "a\u00a0 \u200bb"
    assert trim("\u202eadmin") == "\u202eadmin"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u202eadmin", "\\u202eadmin"),
        ("\x1b[31m\x9b2J\x07", "\\u001b[31m\\u009b2J\\u0007"),
        ("a\nb\r\u2028", "a\\u000ab\\u000d\\u2028"),
        ("\u2069\u2066", "\\u2069\\u2066"),
        ("\U000e0041", "\\udb40\\udc41"),
        (INNOCENT, INNOCENT),
    ],
)
def test_visible__escapes_controls_only(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_visible__keeps_line_ends_if_asked() -> None:
    assert visible("a\nb\x1b", lines=True) == "a\nb\\u001b"


@given(TEXTS)
def test_visible__keeps_the_meaning_of_json(text: str) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(visible(document)) == {"text": text}


@given(TEXTS)
def test_isolated__contains_no_other_control_of_direction(text: str) -> None:
    shown = isolated(text)
    if any(bidirectional(each) in ("R", "AL", "AN") for each in shown):
        assert (shown[0], shown[-1]) == ("\u2068", "\u2069")
        shown = shown[1:-1]
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\n\r\u2029\x85") & set(
        shown
    )


def test_columns__count_as_a_terminal_does() -> None:
    assert [columns(text) for text in ("abc", "é", "e\u0301", "玩家", "\u200d")] == [3, 1, 1, 4, 0]
