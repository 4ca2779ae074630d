"""Texts that game clients wrote: trimming them, and showing them so that they cannot disturb what
stands beside them. Imports no Django.

An explicit direction control such as U+202E reverses the text after it, an unmatched U+2069 ends an
isolate early, and ESC or a C1 control is a command to a terminal. In HTML, the style of `bdi` and
`.mono` isolates a text unchanged; plain text needs these functions.
"""

import re
import unicodedata

from ilara_admin.core.names import SPACES

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
# Copied text brings isolates along, which pages and terminals put around names.
_OUTER = SPACES + "\u2066\u2067\u2068\u2069"
# Controls, line and paragraph separators, direction controls, and other unseen format characters
# except U+200C and U+200D, which Persian and emoji need.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ud800-\udfff\U000e0001-\U000e007f"
)
_CONTROL = re.compile(f"[{_CONTROLS}]")
_CONTROL_BUT_LINE_END = re.compile(f"(?!\n)[{_CONTROLS}]")


RIGHT_TO_LEFT = {"R", "AL", "AN"}


def trim(text: str) -> str:
    """Without outer white space, including no-break and zero-width characters, and without outer
    isolates."""
    return text.strip(_OUTER)


def visible(text: str, *, lines: bool = False) -> str:
    """With control and format characters escaped as in JSON, such as `\\u202e`, so that JSON stays
    the same document. With `lines`, line feeds stay."""
    return (_CONTROL_BUT_LINE_END if lines else _CONTROL).sub(_escaped, text)


def isolated(text: str) -> str:
    """For a sentence of plain text, such as a toast or a title: cannot affect the words around it.
    Control characters become visible; a right-to-left text stays right-to-left."""
    text = visible(text)
    if text.isascii() or not any(unicodedata.bidirectional(each) in RIGHT_TO_LEFT for each in text):
        return text
    return f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"


def columns(text: str) -> int:
    """The number of columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(each) in ("Mn", "Me", "Cf") else _width(each) for each in text
    )


def _width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escaped(found: re.Match[str]) -> str:
    """Two escapes for a character beyond U+FFFF, as in JSON."""
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
