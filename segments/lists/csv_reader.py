"""Reads external ids from a CSV file, line by line, with an error per invalid line.

Either one id per line, or a table with a column of ids, separated by commas, semicolons or tabs.
UTF-8, or UTF-16 with a byte order mark. Lines may end with CR, LF or CRLF. Fields may be quoted.
Blank lines and white space around an id are ignored. A file that is something else is refused as a
whole, before its first id. Imports no Django.
"""

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from ilara_admin.core import spreadsheet
from ilara_admin.core.names import SPACES, name_problem
from ilara_admin.core.text import trim, visible

COLUMN = "external_id"
PLAYER_ID = "playerid"
MAX_CHARACTERS = 255
MAX_LINE_CHARACTERS = 1024 * 1024
# A quoted field may span this many lines; beyond that, the quotes are considered unclosed.
MAX_FIELD_LINES = 100
HEAD_BYTES = 64 * 1024
HEAD_LINES = 100
SHOWN_CHARACTERS = 80

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# The names of an id column, without case, spaces and punctuation; the first that occurs counts.
ID_COLUMNS = (
    "externalid", "externalplayerid", "playerexternalid", "externaluserid", "playerid", "userid",
    "accountid", "customerid", "profileid", "memberid", "distinctid", "id", "uid", "uuid", "guid",
    "externalids", "playerids", "userids", "ids",
)  # fmt: skip
ONE_COLUMN = {*ID_COLUMNS, "player", "players", "user", "users"}
# Names of one column in other words: "Spieler-ID", "playfab_id", "steamId".
NAME_OF_IDS = re.compile(r"[^\W\d_]+([ _-][^\W\d_]+)*([ _-][iI][dD]s?|(?<=[a-z])I[dD]s?)")
SEPARATOR_LINE = re.compile(r'"?sep=([^\w"])"?', re.IGNORECASE)

# How files of other kinds begin.
FORMATS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"Rar!", "a RAR archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
)
MARKUP = re.compile(r"<[!?a-z/]", re.IGNORECASE)
JSON = re.compile(r'\{\s*("|\}|\Z)|\[\s*(["\[{]|-?[\d.]+\s*(,|\]\s*\Z)|\]?\s*\Z)')
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
MIN_CONTROLS, CONTROL_SHARE = 3, 0.02

type NumberedLine = tuple[int, str]


class FileRefusedError(ValueError):
    """The file is not a list of ids. The message says what was seen and what to do."""


class CsvRow(NamedTuple):
    """An id and its line number, or "" and the error of that line. `column` is the name of its
    column without case and punctuation, "" without a header."""

    number: int
    external_id: str
    problem: str = ""
    column: str = ""


class Layout(NamedTuple):
    """How to read the lines after the header: the delimiters that separate columns, and the place
    and the name of the column of ids, "" without a header, among `width` columns."""

    delimiters: Sequence[str] = tuple(DELIMITERS)
    place: int = 0
    name: str = ""
    width: int = 1
    column: str = ""  # the name without case and punctuation


def read_ids(pieces: Iterable[bytes]) -> Iterator[CsvRow]:
    """The ids of a file that arrives in pieces of any size. Raises FileRefusedError before the
    first."""
    lines = _lines(_not_another_format(pieces))
    filled = ((number, line) for number, line in enumerate(lines, 1) if trim(line))
    layout, records = _layout(_records(filled))
    empty = "".join(layout.delimiters) + SPACES
    for number, line in records:
        if line.strip(empty):
            yield _row(number, line, layout)


def checked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces unchanged, after a look at the first. Raises FileRefusedError."""
    head, rest = _head(pieces)
    found = next(read_ids([head]), None)
    if found is None and len(head) < HEAD_BYTES:
        raise FileRefusedError("The file contains no external id.")
    return chain([head], rest)


def check_id(external_id: str) -> str:
    """The error of an id, or ""."""
    if not external_id:
        return "is empty"
    if len(external_id) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS} characters"
    if "\0" in external_id:
        return "contains a NUL character"
    if not external_id.isascii() and (broken := _SURROGATE.search(external_id)):
        # surrogateescape decodes bytes that are not UTF-8 to these.
        return "is not UTF-8" if "\udc80" <= broken[0] <= "\udcff" else "is not valid Unicode"
    return name_problem(external_id) or ""


_SURROGATE = re.compile("[\ud800-\udfff]")


def blank(data: bytes, names: Iterable[str]) -> bytes:
    """A file with the fields that are one of the names, in any case, filled with spaces. Its length
    stays the same."""
    encoding = "utf-8"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16-le" if data.startswith(BOM_UTF16_LE) else "utf-16-be"
    errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
    wanted = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    field = re.compile(rf"(?<![^\s,;\"'\ufeff])(?:{wanted})(?![^\s,;\"'])", re.IGNORECASE)
    text = data[: len(data) // 2 * 2 if encoding != "utf-8" else None].decode(encoding, errors)
    blanked = field.sub(
        lambda found: " " * (len(found[0].encode(encoding, errors)) // len(" ".encode(encoding))),
        text,
    ).encode(encoding, errors)
    return blanked + data[len(blanked) :]


# --- Rows -----------------------------------------------------------------------------------------


def _row(number: int, line: str, layout: Layout) -> CsvRow:
    fields = _widest(line, layout.delimiters)
    if fields is None:
        return CsvRow(number, "", "has unclosed or misplaced quotes")
    if layout.width == 1:
        fields = [field for field in fields if trim(field)] or [""]
    if layout.place >= len(fields):
        return CsvRow(number, "", f"has no column {layout.name}")
    if (layout.place or layout.width == 1) and _filled(fields[layout.width :]):
        # The id may be in another column than the header names.
        wanted = f"the header has {layout.width}" if layout.name else "the first line has 1"
        return CsvRow(number, "", f"has {len(fields)} columns, but {wanted}")
    external_id = spreadsheet.plain(trim(fields[layout.place]))
    problem = check_id(external_id)
    return CsvRow(number, "" if problem else external_id, problem, layout.column)


def _filled(fields: list[str] | None) -> int:
    """The number of fields with content; -1 if the line cannot be read."""
    return -1 if fields is None else sum(1 for field in fields if trim(field))


# --- The header -----------------------------------------------------------------------------------


def _layout(records: Iterator[NumberedLine]) -> tuple[Layout, Iterator[NumberedLine]]:
    """How to read the file, and its records after the header. Raises FileRefusedError."""
    head = list(islice(records, HEAD_LINES))
    delimiters: Sequence[str] = tuple(DELIMITERS)
    if head and (said := SEPARATOR_LINE.fullmatch(head[0][1].rstrip("\r\n"))):
        delimiters, head = (said[1],), head[1:]
    if not head:
        return Layout(), records
    first = head[0][1]
    _refuse_markup(first)
    after = chain(head[1:], records)
    if len(names := _named(first, delimiters)) > 1:
        folded = [_folded(name) for name in names]
        place = folded.index(next(name for name in ID_COLUMNS if name in folded))
        used = [each for each in delimiters if _fields(first, each) == names]
        return Layout(used, place, trim(names[place]), len(names), folded[place]), after
    if _is_name(first):
        name = trim(trim(first).strip('"'))
        return Layout(delimiters, name=name, column=_folded(name)), after
    _refuse_other_delimiters(first)
    several = [text for _, text in head if _filled(_widest(text, delimiters)) > 1]
    if several and (several[0] == first or 2 * len(several) > len(head)):
        raise FileRefusedError(_several_columns(several[0], delimiters))
    return Layout(delimiters), chain(head, records)


def _named(line: str, delimiters: Sequence[str]) -> list[str]:
    """The columns of a header that names a column of ids."""
    headers = [_fields(line, each) or [] for each in delimiters]
    known = [names for names in headers if any(_folded(name) in ID_COLUMNS for name in names)]
    return max(known, key=len, default=[])


def _is_name(line: str) -> bool:
    """Whether the only field of a first line is the name of its column."""
    name = trim(trim(line).strip('"'))
    return _folded(name) in ONE_COLUMN or bool(NAME_OF_IDS.fullmatch(name))


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _widest(line: str, delimiters: Sequence[str]) -> list[str] | None:
    """The fields by the delimiter that gives the most with content, then the most."""
    if len(delimiters) == 1:
        return _fields(line, delimiters[0])
    if '"' not in line and not any(each in line for each in delimiters):
        return [line.rstrip("\r\n")]
    found = [_fields(line, each) for each in delimiters]
    return max(found, key=lambda fields: (_filled(fields), len(fields or ())))


def _several_columns(line: str, delimiters: Sequence[str]) -> str:
    columns = _widest(line, delimiters) or []
    delimiter = next(each for each in delimiters if _fields(line, each) == columns)
    by = DELIMITERS.get(delimiter, f"“{delimiter}”")
    return (
        f"The line {_quoted(line)} has {len(columns)} columns separated by {by}, and none is named "
        f"{COLUMN}. Write a first line that names the columns, with {COLUMN} above the ids, or put "
        "one id on each line."
    )


def _refuse_markup(line: str) -> None:
    start = trim(line)
    kind = "HTML or XML" if MARKUP.match(start) else "JSON" if JSON.match(start) else ""
    if kind:
        raise FileRefusedError(
            f"The file looks like {kind}, not like a list of ids. It begins with {_quoted(start)}. "
            f"Put one id on each line, or save a table with a column {COLUMN} as CSV."
        )


def _refuse_other_delimiters(line: str) -> None:
    words = [_folded(word) for word in re.split(r"[\s|]+", line)]
    if len(words) > 1 and any(word in ID_COLUMNS and len(word) > len("guid") for word in words):
        raise FileRefusedError(
            f"The first line is {_quoted(line)}: its columns are not separated by commas, "
            "semicolons or tabs. Save the file as CSV."
        )


def _quoted(line: str) -> str:
    line = line.rstrip("\r\n")
    more = "…" if len(line) > SHOWN_CHARACTERS else ""
    return f"“{visible(line[:SHOWN_CHARACTERS].replace('\t', '→'))}{more}”"


# --- Bytes ----------------------------------------------------------------------------------------


def _head(pieces: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """At least HEAD_BYTES, if the file has as many, and the pieces after them."""
    source, head = iter(pieces), b""
    for piece in source:
        head += piece
        if len(head) >= HEAD_BYTES:
            break
    return head, source


def _not_another_format(pieces: Iterable[bytes]) -> Iterator[bytes]:
    head, rest = _head(pieces)
    start = head.lstrip()
    for magic, kind in FORMATS:
        if start.startswith(magic):
            raise FileRefusedError(
                f"The file is {kind}, not a text with ids. Save the table as “CSV UTF-8” and "
                "import that."
            )
    sample = "".join(_decoded([head[:HEAD_BYTES]]))
    controls = len(CONTROL.findall(sample))
    if controls >= MIN_CONTROLS and controls > CONTROL_SHARE * len(sample):
        raise FileRefusedError(
            "The file is not a text with ids: it contains control characters, like a binary file "
            "or UTF-16 without a byte order mark. Save the ids as “CSV UTF-8”."
        )
    return chain([head], rest)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines with their line ends. Overlong lines are truncated and fail validation later."""
    rest = ""
    for text in _decoded(pieces):
        lines = _LINE.findall(rest + text)
        # A CR at the end may be the first half of CRLF.
        rest = lines.pop() if lines and not lines[-1].endswith("\n") else ""
        yield from lines
        rest = rest[:MAX_LINE_CHARACTERS] + rest[MAX_LINE_CHARACTERS:][-1:]
    if rest:
        yield rest


_LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n)|[^\r\n]++")


def _decoded(pieces: Iterable[bytes]) -> Iterator[str]:
    head, rest = _head(pieces)
    encoding, errors, start = "utf-8", "surrogateescape", len(BOM_UTF8)
    if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        encoding = "utf-16-le" if head.startswith(BOM_UTF16_LE) else "utf-16-be"
        errors, start = "surrogatepass", len(BOM_UTF16_LE)
    elif not head.startswith(BOM_UTF8):
        start = 0
    decoder = getincrementaldecoder(encoding)(errors)
    for piece in chain([head[start:]], rest):
        yield decoder.decode(piece)
    # Half a UTF-16 unit at the end is dropped.
    yield decoder.decode(b"", final=encoding == "utf-8")


# --- Records --------------------------------------------------------------------------------------


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
                    text += "".join(each for _, each in following)
                    following = []
                    break
            held.extendleft(reversed(following))
        yield number, text


def _next(source: Iterator[NumberedLine], held: deque[NumberedLine]) -> NumberedLine | None:
    return held.popleft() if held else next(source, None)


def _fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of one record, or None if its quotes are invalid."""
    text = text.rstrip("\r\n")
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
