"""Properties of events: decoding, a filter by one of them, and masks. Imports no Django.

Numbers are decoded as exactly as PostgreSQL stores them, so that a filter gives the same result
here, for events as they arrive, and as SQL, for those in the log.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from ilara_admin.core.structs import decoder
from players.personal import mask_email, masked

MAX_VALUE_CHARACTERS = 255
ABSENT: Any = object()
# Within the range of PostgreSQL's numeric.
NUMBER = re.compile(r"-?(0|[1-9]\d{0,29})(\.\d{1,30})?([eE][+-]?\d{1,2})?", re.ASCII)
LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
EMAIL = re.compile(r"[^\s@<>()\[\],;:\"']+@[^\s@<>()\[\],;:\"']+")

_decoder: msgspec.json.Decoder[dict[str, Any]] = decoder(dict[str, Any], float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")

type Bind = Callable[[Any], str]


def decoded(properties: bytes | msgspec.Raw) -> dict[str, Any]:
    """A JSON object. Numbers are int or Decimal."""
    return _decoder.decode(bytes(properties))


# --- Masks ----------------------------------------------------------------------------------------


def is_personal(properties: bytes | msgspec.Raw, personal: Collection[str]) -> bool:
    """Whether a property of the `personal` names is set, or a text has an e-mail address."""
    return visible(properties, personal) != bytes(properties)


def visible(properties: bytes | msgspec.Raw, personal: Collection[str]) -> bytes:
    """The JSON object for staff who see no personal data: the values of the `personal` names and
    all e-mail addresses are masked. Unchanged if there is nothing to mask."""
    text = bytes(properties)
    if b"@" not in text and not personal:
        return text
    found = decoded(text)
    shown = _without_emails(masked(found, personal))
    return text if shown == found else _encoder.encode(shown)


def _without_emails(value: Any) -> Any:
    if isinstance(value, str):
        return EMAIL.sub(lambda match: str(mask_email(match[0])), value)
    if isinstance(value, list):
        return [_without_emails(item) for item in value]
    if isinstance(value, dict):
        return {_without_emails(name): _without_emails(item) for name, item in value.items()}
    return value


# --- Filter ---------------------------------------------------------------------------------------


class PropertyOperator(StrEnum):
    EXISTS = "exists"
    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    CONTAINS = "contains"


OPERATOR_WORDS = {
    PropertyOperator.EXISTS: "exists",
    PropertyOperator.EQUALS: "equals",
    PropertyOperator.NOT_EQUALS: "does not equal",
    PropertyOperator.AT_LEAST: "is at least",
    PropertyOperator.AT_MOST: "is at most",
    PropertyOperator.CONTAINS: "contains",
}
_COMPARING = {PropertyOperator.AT_LEAST: ">=", PropertyOperator.AT_MOST: "<="}


@dataclass(frozen=True, slots=True)
class PropertyFilter:
    """A condition on one property, by its name at the top level.

    The value is a text. It equals that text, and also the number, the boolean or the null that it
    spells. A text contains a part, case-sensitive; a list contains an item. `does not equal` is the
    exact negation, as in the rules of segments: it holds without the property.

    With `without_emails`, a value with an @ is treated as absent, except by `exists`: who sees
    addresses masked must not find them out by comparing.
    """

    name: str
    operator: PropertyOperator
    value: str = ""
    without_emails: bool = False

    @property
    def words(self) -> str:
        """`level is at least 5`."""
        text = f"{self.name} {OPERATOR_WORDS[self.operator]}"
        return text if self.operator is PropertyOperator.EXISTS else f"{text} {self.value}"

    @property
    def problem(self) -> str:
        """What is wrong with the value, and the fix; "" if nothing is."""
        if self.operator is PropertyOperator.EXISTS:
            return ""
        if not self.value:
            return "Give a value to compare the property with, or choose “exists”."
        if self.operator in _COMPARING and _number(self.value) is None:
            return f"“{OPERATOR_WORDS[self.operator]}” needs a number, such as 5 or 0.25."
        return ""

    def matches(self, properties: Mapping[str, Any]) -> bool:
        """Whether the decoded properties of an event match."""
        if self.operator is PropertyOperator.EXISTS:
            return self.name in properties
        value = properties.get(self.name, ABSENT)
        if self.without_emails and value is not ABSENT and b"@" in _encoder.encode(value):
            value = ABSENT
        match self.operator:
            case PropertyOperator.EQUALS:
                return _equals(value, self._meanings)
            case PropertyOperator.NOT_EQUALS:
                return not _equals(value, self._meanings)
            case PropertyOperator.CONTAINS if isinstance(value, str):
                return self.value in value
            case PropertyOperator.CONTAINS:
                return isinstance(value, list) and any(
                    _equals(item, self._meanings) for item in value
                )
        number = _number(self.value)
        if number is None or not _is_number(value):
            return False
        at_least = self.operator is PropertyOperator.AT_LEAST
        return bool(value >= number if at_least else value <= number)

    def sql(self, bind: Bind) -> str:
        """The condition on the column `properties`; `bind` adds a parameter and returns its
        placeholder. Never NULL."""
        name = bind(self.name)
        if self.operator is PropertyOperator.EXISTS:
            return f"properties ? {name}::text"
        value = f"properties -> {name}::text"
        if self.without_emails:
            value = f"CASE WHEN strpos(({value})::text, '@') = 0 THEN {value} END"
        if self.operator in _COMPARING:
            number = f"{bind(self.value)}::text::numeric"
            compared = f"({value})::numeric {_COMPARING[self.operator]} {number}"
            return f"CASE WHEN jsonb_typeof({value}) = 'number' THEN {compared} ELSE false END"
        meanings = [_encoder.encode(each).decode() for each in self._meanings]
        any_meaning = f"ANY ({bind(meanings)}::text[]::jsonb[])"
        if self.operator is PropertyOperator.CONTAINS:
            return f"""CASE jsonb_typeof({value})
                WHEN 'string' THEN strpos(({value}) #>> '{{}}', {bind(self.value)}::text) > 0
                WHEN 'array' THEN ({value}) @> {any_meaning} ELSE false END"""
        equal = f"coalesce(({value}) = {any_meaning}, false)"
        return equal if self.operator is PropertyOperator.EQUALS else f"NOT {equal}"

    @property
    def _meanings(self) -> list[Any]:
        found: list[Any] = [self.value]
        if (number := _number(self.value)) is not None:
            found.append(number)
        if self.value in LITERALS:
            found.append(LITERALS[self.value])
        return found


def _number(text: str) -> Decimal | None:
    return Decimal(text) if NUMBER.fullmatch(text) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _equals(value: Any, meanings: list[Any]) -> bool:
    """JSON equality with one of the texts, numbers, booleans or nulls: true is not 1."""
    if value is ABSENT:
        return False
    return any(
        value == each and (_is_number(value) if _is_number(each) else type(value) is type(each))
        for each in meanings
    )
