"""Configuration as code: writing and reading the JSON document.

    {"version": 1,
     "flags": {"new-shop": {"name": "New shop", "description": "", "owner": "",
                            "expected_end": "", "tags": [], "links": [], "archived": false,
                            "value_type": "boolean", "enabled": true, …}},
     "segments": {"whales": {"name": "Whales", "description": "",
                             "rule": {"operator": "AND", "conditions": […]}}}}

A rule has the format of segments/language/parser.py; a flag has the fields of
flags/engine/document.py and those of flags/details.py. A missing section leaves its kind unchanged.
Imports no Django.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import msgspec

from flags.details import Details, read_links, read_tags
from flags.engine.document import (
    DocumentError,
    FlagDocument,
    check_document,
    decode_document,
    encode_document,
)
from ilara_admin.core.names import name_problem
from ilara_admin.core.path_error import PathError
from ilara_admin.core.structs import converter
from segments.keys import KEY, KEY_FORM
from segments.language.parser import NOT_IN_TEXT, RuleError, parse

VERSION = 1
KINDS = ("segments", "flags")

type ConfigEntry = dict[str, Any]
type ConfigEntries = dict[str, ConfigEntry]


@dataclass(frozen=True, slots=True)
class Config:
    """Plain JSON data by kind and key, with every field set. A kind may be absent."""

    kinds: Mapping[str, ConfigEntries]

    def entries(self, kind: str) -> ConfigEntries:
        return self.kinds.get(kind, {})


class ConfigError(ValueError):
    """A document that is not valid, with all its errors."""

    def __init__(self, faults: list[PathError]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def write(config: Config) -> str:
    """The document as text, one value per line. The same content always gives the same text."""
    document = {"version": VERSION, **config.kinds}
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def read(data: bytes) -> Config:
    """Read a document. Raises ConfigError with the path of every error."""
    try:
        document, twice = _decode(data)
    except UnicodeDecodeError:
        raise ConfigError([PathError("", "Not valid UTF-8.")]) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError([PathError("", f"Not valid JSON: {error.msg}, {place}.")]) from None
    except RecursionError:
        raise ConfigError([PathError("", "The document is nested too deeply.")]) from None
    except ValueError as error:
        raise ConfigError([PathError("", f"Not valid JSON: {error}.")]) from None
    faults = list(_repeated(document, "", twice))
    kinds = _read_kinds(document, faults)
    if faults:
        raise ConfigError(faults)
    return Config(kinds)


def place(kind: str, key: str, path: str = "") -> str:
    inner = f".{path}" if path and path[0] != "[" else path
    return f"{kind}[{json.dumps(key, ensure_ascii=False)}]{inner}"


# --- JSON ---------------------------------------------------------------------------------------


def _decode(data: bytes) -> tuple[Any, dict[int, list[str]]]:
    """The value, and the duplicate names of each object by the object's id(). By default the last
    duplicate would win, and half of a badly merged file would be silently lost."""
    twice: dict[int, list[str]] = {}

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice[id(found)] = [name for name in found if names.count(name) > 1]
        return found

    def refused(name: str) -> None:
        raise ValueError(f"{name} is not allowed")

    text = data.decode("utf-8-sig")
    return json.loads(text, object_pairs_hook=to_dict, parse_constant=refused), twice


def _repeated(value: Any, path: str, twice: Mapping[int, list[str]]) -> Iterator[PathError]:
    if isinstance(value, dict):
        for name in twice.get(id(value), ()):
            yield PathError(_inside(path, name), "Duplicate key in the same object.")
        for name, item in value.items():
            yield from _repeated(item, _inside(path, name), twice)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]", twice)


def _inside(path: str, name: str) -> str:
    if path in KINDS:
        return place(path, name)
    return f"{path}.{name}" if path else name


# --- Entries ------------------------------------------------------------------------------------


class SegmentConfig(msgspec.Struct, frozen=True):
    rule: dict[str, Any]
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""


class FlagDetailsConfig(msgspec.Struct, frozen=True):
    """A flag's fields outside its document."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""
    owner: Annotated[str, msgspec.Meta(max_length=200)] = ""
    expected_end: str = ""
    tags: list[str] = []
    links: list[dict[str, str]] = []
    archived: bool = False


def document_of(flag: ConfigEntry) -> FlagDocument:
    """A flag's document. Raises DocumentError if it cannot be read."""
    return decode_document({name: flag[name] for name in flag if name not in _ABOUT})


def details_of(flag: ConfigEntry) -> Details:
    return {name: flag[name] for name in _ABOUT if name != "archived"}


_ABOUT = FlagDetailsConfig.__struct_fields__


def _read_kinds(document: Any, faults: list[PathError]) -> dict[str, ConfigEntries]:
    if not isinstance(document, dict):
        faults.append(
            PathError("", "The document must be an object with version, segments and flags.")
        )
        return {}
    version = document.get("version")
    if isinstance(version, bool) or version != VERSION:
        faults.append(PathError("version", f"Must be {VERSION}, the only supported version."))
        return {}
    for name in document:
        if name not in ("version", *KINDS):
            faults.append(PathError(name, "Unknown. Use version, segments, flags."))
    found: dict[str, ConfigEntries] = {}
    for kind, read_one in (("segments", _read_segment), ("flags", _read_flag)):
        if kind not in document:
            continue
        if not isinstance(document[kind], dict):
            faults.append(PathError(kind, "Must be an object of entries by key."))
            continue
        found[kind] = {}
        for key in sorted(document[kind]):
            if not KEY.fullmatch(key):
                faults.append(PathError(place(kind, key), KEY_FORM))
            wrong: list[PathError] = []
            entry = read_one(key, document[kind][key], wrong)
            faults += [fault.below(place(kind, key)) for fault in wrong]
            found[kind][key] = entry
    return found


def _read_segment(key: str, data: Any, faults: list[PathError]) -> ConfigEntry:
    given = _fields(data, SegmentConfig, SegmentConfig.__struct_fields__, faults)
    _check_name(given.get("name"), faults)
    if "rule" in given:
        _check_rule(given["rule"], "rule", faults)
    return {"description": "", **given, "name": given.get("name") or key}


def _check_name(name: str | None, faults: list[PathError]) -> None:
    if name and (problem := name_problem(name)):
        faults.append(PathError("name", f"The name {problem}."))


def _read_flag(key: str, data: Any, faults: list[PathError]) -> ConfigEntry:
    known = (*FlagDocument.__struct_fields__, *_ABOUT)
    given = _fields(data, FlagDetailsConfig, known, faults)
    _check_name(given.get("name"), faults)
    if given.get("expected_end") and not _is_date(given["expected_end"]):
        faults.append(PathError("expected_end", "Must be a date like 2026-12-31, or empty."))
    for name, read_one in (("tags", read_tags), ("links", read_links)):
        try:
            given[name] = read_one(given.get(name, []))
        except PathError as error:
            faults.append(error.below(name))
    details = {
        **msgspec.structs.asdict(FlagDetailsConfig()),
        **given,
        "name": given.get("name") or key,
    }
    if not isinstance(data, dict):
        return details
    rest = {name: data[name] for name in FlagDocument.__struct_fields__ if name in data}
    try:
        document = decode_document(rest)
        for index, rule in enumerate(document.rules):
            if rule.conditions is not None:
                _check_rule(rule.conditions, f"rules[{index}].conditions", faults)
        check_document(document)
    except DocumentError as error:
        faults.append(error)
        return details
    return details | encode_document(document)


def _fields(
    data: Any, struct: type[msgspec.Struct], known: tuple[str, ...], faults: list[PathError]
) -> ConfigEntry:
    """The given fields of a struct. Each is checked separately, so that all errors are found."""
    if not isinstance(data, dict):
        faults.append(PathError("", f"Must be an object with {', '.join(sorted(known))}."))
        return {}
    for name in data:
        if name not in known:
            faults.append(PathError(name, f"Unknown. Use {', '.join(sorted(known))}."))
    given: ConfigEntry = {}
    for field in msgspec.structs.fields(struct):
        if field.name not in data:
            if field.required:
                faults.append(PathError(field.name, "Required."))
            continue
        try:
            value = converter(field.type)(data[field.name])
        except msgspec.ValidationError as error:
            faults.append(PathError(field.name, f"{error}."))
            continue
        if isinstance(value, str) and NOT_IN_TEXT.search(value):
            faults.append(PathError(field.name, "Must not contain NUL or lone surrogates."))
        given[field.name] = value
    return given


def _check_rule(rule: Any, path: str, faults: list[PathError]) -> None:
    try:
        parse(rule)
    except RuleError as error:
        faults.append(error.below(path))


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
