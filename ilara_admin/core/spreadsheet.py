"""Cells of CSV files that a spreadsheet must not run as formulas. Imports no Django.

A cell that begins like a formula gets a leading apostrophe, with which spreadsheets mark text.
`plain` removes it again: plain(cell(text)) is text, for every text.
"""

import csv
import re
from collections.abc import Iterable

_UNSEEN = r"\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_QUOTES = "'\"\u2018\u2019\u201c\u201d\uff02\uff07"
# ASCII and full-width signs, also after white space and quotes, which some spreadsheets drop.
_FORMULA = re.compile(rf"[{_QUOTES}]*[\t\r\n]|[{_UNSEEN}{_QUOTES}]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
HELP = (
    "A cell that a spreadsheet would run as a formula, because it begins with = + - @ or a tab, "
    "gets a leading apostrophe; numbers such as -5 do not."
)


def cell(text: str) -> str:
    return f"'{text}" if _is_formula(text) else text


def plain(text: str) -> str:
    """The text of a cell, without the apostrophe that `cell` added."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


class _Echo:
    """A file whose `write` returns the text, so that csv.writer.writerow does."""

    def write(self, text: str) -> str:
        return text


def line(texts: Iterable[str]) -> str:
    """A line of a CSV file that is streamed."""
    written: str = csv.writer(_Echo()).writerow(texts)
    return written
