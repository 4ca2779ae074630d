"""Reading external ids from a file."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilara_admin.core.names import name_problem
from segments.lists.csv_reader import MAX_LINE_BYTES, check_id, read_ids
from tests.inputs import inputs


def ids(*pieces: bytes) -> list[str]:
    return [line.external_id for line in read_ids(pieces) if not line.problem]


def bad(*pieces: bytes) -> list[tuple[int, str]]:
    return [(line.number, line.problem) for line in read_ids(pieces) if line.problem]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (b"\n\n \r\n", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\n\n\nb\n\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b'"a"\n"b, the second"\n"say ""c"""\n', ["a", "b, the second", 'say "c"']),
        (b" a \n\tb\n", ["a", "b"]),
        ("é\n玩家\n".encode(), ["é", "玩家"]),
        (b"external_id\na\nb\n", ["a", "b"]),
        (b'\xef\xbb\xbf"External_ID"\r\na\r\n', ["a"]),
        (b"\nexternal_id\na\n", ["a"]),
        (b"name,external_id,level\nx,a,1\ny,b,2\n", ["a", "b"]),
        (b"name;external_id\nx;a\n", ["a"]),
        (b"external_id\tname\na\tx, y\n", ["a"]),
        (b'external_id,note\na,"first\nsecond"\nb,""\n', ["a", "b"]),
        (b"external_id,name\na,\xff\n", ["a"]),
    ],
)
def test_file__gives_its_ids(text: bytes, found: list[str]) -> None:
    assert ids(text) == found
    assert bad(text) == []


@pytest.mark.parametrize(
    ("text", "good", "problems"),
    [
        (b'a\n""\nb', ["a", "b"], [(2, "is empty")]),
        (b"a\n" + b"x" * 256 + b"\nb", ["a", "b"], [(2, "is longer than 255 characters")]),
        (b"a\n\nx\0y\nb", ["a", "b"], [(3, "contains a NUL character")]),
        (b"a\n\xff\xfe\nb", ["a", "b"], [(2, "is not UTF-8")]),
        (b"a,1\nb", ["b"], [(1, "has several columns, but none is named external_id")]),
        (b'"a\nb', ["b"], [(1, "has unclosed or misplaced quotes")]),
        (b"name,external_id\nx\ny,b", ["b"], [(2, "has no column external_id")]),
        (b"external_id,name\n,x\nb,y", ["b"], [(2, "is empty")]),
    ],
)
def test_invalid_line__is_reported_and_the_rest_is_read(
    text: bytes, good: list[str], problems: list[tuple[int, str]]
) -> None:
    assert ids(text) == good
    assert bad(text) == problems


def test_longest_id__is_counted_in_characters() -> None:
    assert ids(("é" * 255).encode()) == ["é" * 255]
    assert bad(("é" * 256).encode()) == [(1, "is longer than 255 characters")]


def test_unclosed_quote__affects_only_its_line() -> None:
    rows = b"".join(b"p%d,x\n" % number for number in range(300))
    assert len(ids(b'external_id,note\nbad,"open\n' + rows)) == 300


def test_endless_line__is_truncated_and_refused() -> None:
    piece = b"x" * 65_536
    assert bad(*[piece] * (2 * MAX_LINE_BYTES // len(piece))) == [
        (1, "is longer than 255 characters")
    ]


@pytest.mark.parametrize("given_name", inputs("names"), ids=lambda given: given["about"])
def test_id__needs_something_to_see_and_no_space_outside(given_name: dict[str, Any]) -> None:
    problem = check_id(given_name["name"])
    assert (not problem) is given_name["fine"]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)),
    st.integers(1, 7),
)
def test_pieces_of_any_size__give_the_same_ids(texts: list[str], size: int) -> None:
    expected = [text.strip() for text in texts if not name_problem(text.strip())]
    data = "".join(f'"{text.replace('"', '""')}"\r\n' for text in expected).encode()
    data = b"external_id\n" + data
    assert ids(*(data[at : at + size] for at in range(0, len(data), size))) == expected
