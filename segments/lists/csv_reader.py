"""Reads external ids from a CSV file, line by line, with an error per invalid line.

Either one id per line, or the column `external_id` of a table separated by commas, semicolons or
tabs. UTF-8 with or without a byte order mark. Fields may be quoted. Blank lines and whitespace
around an id are ignored. Imports no Django.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from ilara_admin.core.names import name_problem

COLUMN = "external_id"
MAX_CHARACTERS = 255
MAX_LINE_BYTES = 1024 * 1024
# A quoted field may span this many lines; beyond that, the quotes are considered unclosed.
MAX_FIELD_LINES = 100
BOM = b"\xef\xbb\xbf"
# How surrogateescape decodes bytes that are not UTF-8.
NOT_UTF8 = re.compile("[\udc80-\udcff]")

type NumberedLine = tuple[int, str]


class CsvRow(NamedTuple):
    """An id and its line number, or "" and the error of that line."""

    number: int
    external_id: str
    problem: str = ""


def read_ids(pieces: Iterable[bytes]) -> Iterator[CsvRow]:
    """The ids of a file that arrives in pieces of any size."""
    lines = ((number, line) for number, line in enumerate(_lines(pieces), 1) if line.strip())
    first = next(lines, None)
    if first is None:
        return
    delimiter, column = _header(first[1])
    if not delimiter:
        for number, line in chain([first], lines):
            fields = _fields(line, ",")
            if fields and len(fields) > 1:
                yield CsvRow(number, "", f"has several columns, but none is named {COLUMN}")
            else:
                yield _checked(number, fields, 0)
        return
    for number, line in _records(lines):
        yield _checked(number, _fields(line, delimiter), column)


def check_id(external_id: str) -> str:
    """The error of an id, or ""."""
    if not external_id:
        return "is empty"
    if len(external_id) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS} characters"
    if "\0" in external_id:
        return "contains a NUL character"
    if not external_id.isascii() and NOT_UTF8.search(external_id):
        return "is not UTF-8"
    return name_problem(external_id) or ""


def _checked(number: int, fields: list[str] | None, column: int) -> CsvRow:
    if fields is None:
        return CsvRow(number, "", "has unclosed or misplaced quotes")
    if column >= len(fields):
        return CsvRow(number, "", f"has no column {COLUMN}")
    external_id = fields[column].strip()
    problem = check_id(external_id)
    return CsvRow(number, "" if problem else external_id, problem)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines without line endings. Overlong lines are truncated and fail validation later."""
    rest, started = b"", False
    for piece in pieces:
        rest += piece
        if not started and len(rest) < len(BOM) and BOM.startswith(rest):
            continue
        if not started:
            rest, started = rest.removeprefix(BOM), True
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield _text(line)
        rest = rest[:MAX_LINE_BYTES]
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").removesuffix("\r")


def _header(line: str) -> tuple[str, int]:
    """The delimiter and the index of the id column; the delimiter is "" for a plain list."""
    for delimiter in ",;\t":
        names = [name.strip().lower() for name in _fields(line, delimiter) or ()]
        if COLUMN in names:
            return delimiter, names.index(COLUMN)
    return "", 0


def _records(lines: Iterable[NumberedLine]) -> Iterator[NumberedLine]:
    """Joins lines where a quoted field spans several. If no closing quote follows within
    MAX_FIELD_LINES, the line stands alone, so that the lines after it are not lost."""
    source, held = iter(lines), deque[NumberedLine]()
    while (line := _next(source, held)) is not None:
        number, text = line
        if text.count('"') % 2:
            following: list[NumberedLine] = []
            while len(following) < MAX_FIELD_LINES and (more := _next(source, held)):
                following.append(more)
                if more[1].count('"') % 2:
                    text = "\n".join([text, *(each for _, each in following)])
                    following = []
                    break
            held.extendleft(reversed(following))
        yield number, text


def _next(source: Iterator[NumberedLine], held: deque[NumberedLine]) -> NumberedLine | None:
    return held.popleft() if held else next(source, None)


def _fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of one record, or None if its quotes are invalid."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
