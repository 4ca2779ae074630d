"""How well a typed text matches the name of a page or an action. Imports no Django."""

import re
from collections.abc import Sequence

_BETWEEN_WORDS = re.compile(r"[\W_]+")

START, WORDS, LETTERS, RELATED = range(4)


def rank(query: str, name: str, related: str = "") -> int | None:
    """How a query matches a name, best first; None if it does not. Case does not matter.

    START: the name begins with it. WORDS: each typed word begins another word of the name, in any
    order. LETTERS: it is made of the first letters of some words of the name, in their order, as
    "nf" or "nefl" of "New flag". RELATED: WORDS with the `related` words as part of the name.
    """
    typed, words = words_of(query), words_of(name)
    if not typed:
        return None
    if name.casefold().startswith(query.casefold().strip()):
        return START
    if _begin(typed, words):
        return WORDS
    if len(typed) == 1 and _spelled(typed[0], words):
        return LETTERS
    return RELATED if related and _begin(typed, [*words, *words_of(related)]) else None


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return [word for word in _BETWEEN_WORDS.split(text.casefold()) if word]


def _begin(typed: Sequence[str], words: Sequence[str]) -> bool:
    """Whether each typed word begins another one of the words."""
    free = list(words)
    # The longest first: whatever a longer beginning could take, the shorter ones need not.
    for beginning in sorted(typed, key=len, reverse=True):
        found = next((word for word in free if word.startswith(beginning)), None)
        if found is None:
            return False
        free.remove(found)
    return True


def _spelled(letters: str, words: Sequence[str]) -> bool:
    """Whether beginnings of some words, in order, make up the letters."""
    reached = {0}  # the numbers of letters that the words so far can make up
    for word in words:
        for start in tuple(reached):
            for length in range(1, len(word) + 1):
                if not letters.startswith(word[:length], start):
                    break
                reached.add(start + length)
    return len(letters) in reached
