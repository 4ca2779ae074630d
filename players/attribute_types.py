"""The types of attributes in the dashboard's editor: which a value has, how it is typed, and how
the typed text is read. Imports no Django.

A typed text is never guessed at: its type is chosen beside it. A number is stored as a JSON number
and read as a double by most clients, so one that a double cannot hold is refused, not rounded.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Any, NoReturn

from ilara_admin.api.json_schema import INTEGER_RANGE
from ilara_admin.core.json_equality import identical
from ilara_admin.core.times import EXAMPLE, read_time


class AttributeType(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    YES_NO = "yes_no"
    TIME = "time"
    LIST = "list"
    OBJECT = "object"


LABELS = {
    AttributeType.TEXT: "Text",
    AttributeType.NUMBER: "Number",
    AttributeType.YES_NO: "Yes or no",
    AttributeType.TIME: "Date and time",
    AttributeType.LIST: "List",
    AttributeType.OBJECT: "Object",
}
WORDS = {"true": True, "yes": True, "false": False, "no": False}
MAX_DIGITS = 400  # more than the largest double has; Python refuses to read over 4,300
_is_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch


def type_of(value: Any) -> AttributeType:
    """The type of a stored value. A text is a time if it is one with dashes in its date: digits
    alone are as likely an id."""
    match value:
        case bool():
            return AttributeType.YES_NO
        case int() | float():
            return AttributeType.NUMBER
        case list():
            return AttributeType.LIST
        case dict():
            return AttributeType.OBJECT
    is_time = value[4:5] == "-" and read_time(value) is not None
    return AttributeType.TIME if is_time else AttributeType.TEXT


def typed(value: Any) -> str:
    """A stored value as it is typed; `parse` is the inverse."""
    match value:
        case str():
            return value
        case list() | dict():
            return json.dumps(value, indent=2 if value else None, ensure_ascii=False)
    return json.dumps(value)


def parse(text: str, kind: AttributeType) -> Any:
    """The value of a typed text. Raises ValueError with what is wrong and the fix, as the end of a
    sentence about the attribute."""
    match kind:
        case AttributeType.TEXT:
            return unified(text)
        case AttributeType.NUMBER:
            return _number(text.strip())
        case AttributeType.YES_NO:
            found = WORDS.get(text.strip().lower())
            if found is None:
                raise ValueError("must be yes or no")
            return found
        case AttributeType.TIME:
            if read_time(text.strip()) is None:
                raise ValueError(f"must be a date and time, like {EXAMPLE}")
            return text.strip()
    wanted, example = (list, '["a", 1]') if kind is AttributeType.LIST else (dict, '{"wins": 7}')
    value = read_json(text)
    if not isinstance(value, wanted):
        raise ValueError(f"must be {_article(kind)} in JSON, like {example}")
    return value


def keeps(text: str, kind: AttributeType, value: Any) -> bool:
    """Whether the form posted a stored value as it showed it. Then the value stays as it is, also
    where reading the text would spell it differently."""
    return kind is type_of(value) and unified(text) == unified(typed(value))


def patch_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What PATCH takes to get from the attributes `old` to `new`: null removes."""
    gone = {name: None for name in old if name not in new}
    changed = {
        name: value
        for name, value in new.items()
        if name not in old or not identical(old[name], value)
    }
    return {**gone, **changed}


def unified(text: str) -> str:
    """The text with one kind of line break: browsers post another than they were given."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _article(kind: AttributeType) -> str:
    return "a list" if kind is AttributeType.LIST else "an object"


def _number(text: str) -> int | float:
    if not _is_number(text):
        raise ValueError("must be a number, like 42 or -1.5; choose the type text to store a text")
    return _fraction(text) if set(text) & set(".eE") else _integer(text)


# --- JSON -----------------------------------------------------------------------------------------


def read_json(text: str) -> Any:
    """A JSON value. Raises ValueError with the line, and for numbers that would be rounded."""
    try:
        return json.loads(
            text, parse_int=_integer, parse_float=_fraction, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("is JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        problem = f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")
        raise ValueError(f"is not valid JSON. Line {error.lineno}: {problem}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"must be valid JSON, which has no {name}")


def _integer(text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        raise ValueError("has a number that is out of range")
    value = int(text)
    if value not in INTEGER_RANGE:  # others are stored as doubles
        _check_exact(text)
    return value


def _fraction(text: str) -> float:
    _check_exact(text)
    return float(text)


def _check_exact(text: str) -> None:
    value = float(text)
    short = text if len(text) <= 40 else f"{text[:39]}…"
    if not isfinite(value):
        raise ValueError(f"has a number that is out of range: {short}")
    if len(text) > MAX_DIGITS or Decimal(text) != Decimal(repr(value)):
        raise ValueError(
            f"has more digits than a number keeps: {short} would become {value!r}; shorten it, or "
            "store it as text"
        )
