"""The metadata of a flag as lines of text."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from flags.dashboard.metadata_form import metadata_as_typed, parse_metadata

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
) | st.sampled_from(
    ["true", "12", "NaN", "null", "[1]", '"', '"x"', " x", "x ", "", "a\nb", "a = b"]
)
VALUES = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXTS


@pytest.mark.slow
@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_.:/-]{0,8}\Z"), VALUES, max_size=20))
def test_any_metadata__survives_the_form(metadata: dict[str, Any]) -> None:
    for own in ("version", "reason", "bucket"):
        metadata.pop(own, None)
    typed = metadata_as_typed(metadata).replace("\n", "\r\n")
    found = parse_metadata(typed.strip())
    assert found == metadata
    assert [type(found[key]) for key in metadata] == [type(value) for value in metadata.values()]


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("", {}),
        ("team = growth\n\n  build=12 ", {"team": "growth", "build": 12}),
        (
            'a = true\nb = "true"\nc = 1.5\nd = null',
            {"a": True, "b": "true", "c": 1.5, "d": "null"},
        ),
        ("a =", {"a": ""}),
        ("a = b = c", {"a": "b = c"}),
    ],
)
def test_line__is_a_pair(text: str, metadata: dict[str, Any]) -> None:
    assert parse_metadata(text) == metadata


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("growth", "“growth”: write it like team = growth."),
        ("a = 1\na = 2", "“a” is there twice."),
        ('a = "x', '“a = "x”: close the quotes.'),
        ("version = 1", "“version = 1”: OFREP uses this key"),
        ("a b = 1", "“a b = 1”: Use 1 to 64 letters"),
        ("a = NaN", "NaN or Infinity"),
        ("a = 1e300", "between -2^53 and 2^53"),
        (f"a = {'x' * 501}", "500 characters"),
        ("\n".join(f"k{number} = 1" for number in range(21)), "20 pairs"),
    ],
)
def test_line_that_is_no_pair__is_named(text: str, fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_metadata(text)
    assert fault in " ".join(caught.value.messages)
