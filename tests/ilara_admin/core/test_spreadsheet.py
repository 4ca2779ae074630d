"""Cells that a spreadsheet must not run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilara_admin.core.spreadsheet import cell, plain


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1+1", "-1+1", "@SUM(A1)", "-", "+", "\t=1", "\tx", "\rx", "\nx", "  =1", "'=1",
        '"=1', " ' =1", "\u00a0=1", "\u200b=1", "\ufeff=1", "\u201c=1", "\uff1d1", "\uff0b1",
        "\uff0d1", "\uff201", "-5-5", "+49 30 123", "=cmd|' /C calc'!A0", "\x00=1", "-1e5x", "--5",
    ],
)  # fmt: skip
def test_formula__gets_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert plain(cell(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "-5", "+3.2", "-0.5e-3", "+,5", "1-1", "a=b", "player@example.com", "'x", "''", "é"],
)
def test_other_text__stays(text: str) -> None:
    assert cell(text) == text
    assert plain(text) == text


@given(st.text(st.sampled_from("=+-@'\" \t\r\n5a.\uff1d\u200b")))
def test_every_text__comes_back(text: str) -> None:
    assert plain(cell(text)) == text
