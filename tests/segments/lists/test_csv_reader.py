"""Reading external ids from a file."""

import base64
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilara_admin.core import spreadsheet
from ilara_admin.core.names import name_problem
from ilara_admin.core.text import trim
from segments.lists.csv_reader import (
    MAX_LINE_CHARACTERS,
    FileRefusedError,
    blank,
    check_id,
    checked,
    read_ids,
)
from tests.inputs import inputs

CASES = inputs("csv")


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
        (b"a\nb,1", ["a"], [(2, "has 2 columns, but the first line has 1")]),
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
    assert bad(*[piece] * (2 * MAX_LINE_CHARACTERS // len(piece))) == [
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
    expected = [trim(text) for text in texts if not name_problem(trim(text))]
    cells = [spreadsheet.cell(text).replace('"', '""') for text in expected]
    data = "".join(f'"{cell}"\r\n' for cell in cells).encode()
    data = b"external_id\n" + data
    assert ids(*(data[at : at + size] for at in range(0, len(data), size))) == expected


# --- Files as programs write them -----------------------------------------------------------------


def content(case: dict[str, Any]) -> bytes:
    """The bytes of a case of tests/inputs/csv.json."""
    return base64.b64decode(case["base64"]) if "base64" in case else case["text"].encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["by"])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_file_of_a_program__gives_its_ids_or_is_refused(case: dict[str, Any], size: int) -> None:
    data = content(case)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    if "refused" in case:
        with pytest.raises(FileRefusedError) as refusal:
            list(read_ids(checked(pieces)))
        assert case["refused"] in str(refusal.value)
        return
    rows = list(read_ids(checked(pieces)))
    assert [row.external_id for row in rows if not row.problem] == case["ids"]
    problems = [(row.number, row.problem) for row in rows if row.problem]
    for (number, problem), (wanted, text) in zip(problems, case.get("bad", ()), strict=True):
        assert number == wanted
        assert text in problem


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_blank__fills_whole_fields_only(encoding: str) -> None:
    bom = "\ufeff" if encoding == "utf-16-be" else ""
    text = f'{bom}héro\r\nhéro-2\nx,"HÉRO";héro\nsuperhéro\na@b.c\n'
    data = text.encode(encoding)
    blanked = blank(data, ["héro", "a@b.c"])
    assert len(blanked) == len(data)
    found = blanked.decode(encoding).replace(" ", "")
    assert found == f'{bom}\r\nhéro-2\nx,"";\nsuperhéro\n\n'


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
PRINTABLE = st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Zs"])
NAMES = st.text(PRINTABLE, min_size=1, max_size=20).filter(lambda text: not name_problem(text))
IDS = st.lists(NAMES, min_size=1, max_size=8)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


@given(
    IDS, st.sampled_from([",", ";", "\t"]), LINE_ENDS, ENCODINGS, st.booleans(), st.integers(1, 9)
)
def test_table__is_read_whatever_wrote_it(
    ids: list[str], delimiter: str, line_end: str, encoding: str, says: bool, size: int
) -> None:
    """Cells as our own commands write them, with any delimiter, line end and encoding."""
    cells = [f'"{spreadsheet.cell(each).replace('"', '""')}"' for each in ids]
    lines = [f"name{delimiter}Player ID", *(f"x{delimiter}{each}" for each in cells)]
    lines = [f"sep={delimiter}", *lines] if says else lines
    data = line_end.join(lines).encode(encoding)
    rows = read_ids(data[at : at + size] for at in range(0, len(data), size))
    assert [row.external_id for row in rows] == ids


@given(st.binary(max_size=300))
def test_any_bytes__give_rows_or_a_refusal(data: bytes) -> None:
    with suppress(FileRefusedError):
        rows = list(read_ids(checked([data])))
        assert all(bool(row.external_id) != bool(row.problem) for row in rows)


def test_large_file__is_read_in_bounded_memory() -> None:
    note = b"x" * 1_000
    piece = b"".join(b"player_%03d,%b\n" % (number, note) for number in range(400))
    tracemalloc.start()
    try:
        rows = sum(1 for _ in read_ids([b"external_id,name\n", *[piece] * 50]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 20_000
    assert peak < 8 * 1024 * 1024
