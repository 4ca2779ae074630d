"""How a typed text matches the names of pages and actions."""

import pytest

from ilara_admin.web.matching import LETTERS, RELATED, START, WORDS, rank


@pytest.mark.parametrize(
    ("query", "name", "wanted"),
    [
        ("new", "New flag", START),
        ("NEW FL", "New flag", START),
        ("  new flag ", "New flag", START),
        ("flag", "New flag", WORDS),
        ("fl ne", "New flag", WORDS),
        ("turn off shop", "Turn off new-shop", WORDS),
        ("turn off new-shop", "Turn off new-shop", START),
        ("new_shop", "new-shop", WORDS),
        ("new ne", "New neon flag", START),
        ("ne new", "Neon new flag", WORDS),
        ("nf", "New flag", LETTERS),
        ("nefl", "New flag", LETTERS),
        ("tons", "Turn off new-shop", LETTERS),
        ("ts", "Turn off new-shop", LETTERS),
        ("ak", "API keys", LETTERS),
        ("ünder", "Über Ünder", WORDS),
    ],
)
def test_match__has_a_rank(query: str, name: str, wanted: int) -> None:
    assert rank(query, name) == wanted


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "New flag"),
        (" -", "New flag"),
        ("ew", "New flag"),
        ("lag", "New flag"),
        ("fn", "New flag"),
        ("new new", "New flag"),
        ("nfx", "New flag"),
        ("n fx", "New flag"),
        ("flags", "New flag"),
        ("nf", ""),
    ],
)
def test_other_text__does_not_match(query: str, name: str) -> None:
    assert rank(query, name) is None


def test_related_words__match_last() -> None:
    assert rank("token", "API keys", "tokens secrets") == RELATED
    assert rank("secret api", "API keys", "tokens secrets") == RELATED
    assert rank("ts", "API keys", "tokens secrets") is None


def test_hostile_name__takes_no_time() -> None:
    """A search for letters could try every way to split them."""
    assert rank("a" * 254 + "b", "a-" * 127) is None
