"""Names that people can see and tell apart: at least one visible character, no space at the ends.
Imports no Django.

A text that begins or ends with a space, or has nothing to see, looks like another one, or like
nothing, wherever it is shown. Names are refused rather than trimmed: a game compares its ids byte
by byte.
"""

import re
import unicodedata

# Letters and symbols that are drawn as blanks: Hangul fillers and the empty Braille cell.
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
# Marks that are never drawn, although their category is that of visible ones. A variation selector
# may end an emoji.
UNDRAWN = "\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U00016fe4\U000e0100-\U000e01ef"
# What counts as a space at an end: separators, controls, characters without width (zero-width
# space, joiners, byte order mark) and blanks. Marks of direction are none: names in Arabic or
# Hebrew may need them. A class of a regular expression that JSON Schema can publish.
SPACES = (
    "\\u0000-\\u0020\\u007f-\\u00a0\\u00ad\\u115f\\u1160\\u1680\\u180e\\u2000-\\u200d\\u2028\\u2029"
    "\\u202f\\u205f-\\u2064\\u2800\\u3000\\u3164\\ufeff\\uffa0"
)
_is_space = re.compile(f"[{SPACES}]").match
_is_undrawn = re.compile(f"[{BLANKS}{UNDRAWN}]").match
_INVISIBLE = {"Cc", "Cf", "Cs", "Cn", "Zs", "Zl", "Zp"}

NO_VISIBLE = "must have at least one visible character"
OUTER_SPACE = "must not begin or end with a space or an invisible character; remove it"


# Nearly all names. A caller in a loop may ask this first.
is_plain_name = re.compile("[!-~](?:[ -~]*[!-~])?").fullmatch


def name_problem(text: str) -> str | None:
    """What is wrong with a name, to follow the name of its field, or None."""
    if is_plain_name(text):
        return None
    if not any(map(_is_visible, text)):
        return NO_VISIBLE
    return OUTER_SPACE if _is_space(text[0]) or _is_space(text[-1]) else None


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE and not _is_undrawn(character)
