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
# Hebrew may need them.
_SPACE_RANGES = (
    (0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x115F, 0x1160), (0x1680, 0x1680), (0x180E, 0x180E),
    (0x2000, 0x200D), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x2064), (0x2800, 0x2800),
    (0x3000, 0x3000), (0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
)  # fmt: skip
SPACES = "".join(chr(code) for first, last in _SPACE_RANGES for code in range(first, last + 1))
# The same as a class of a regular expression that JSON Schema can publish.
SPACE_CLASS = "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in _SPACE_RANGES)
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
    return OUTER_SPACE if text[0] in SPACES or text[-1] in SPACES else None


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE and not _is_undrawn(character)
