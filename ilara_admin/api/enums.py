"""Enumerations of the API with a published description per value. Imports no Django."""

from enum import StrEnum
from typing import Any, Self


class DocumentedEnum(StrEnum):
    """Each member is a value and its description: `OFF = "off", "The flag is off."`

    A member without a description is a TypeError at import."""

    _value_: str
    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        if not meaning:  # a default, since type checkers confuse the lookup Enum("value") with this
            raise TypeError(f"{value} needs a description")
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


def meanings() -> dict[str, dict[str, str]]:
    """The descriptions by value, by enumeration name; values in declaration order."""
    return {
        each.__name__: {member.value: member.meaning for member in each}
        for each in DocumentedEnum.__subclasses__()
    }


def with_meanings(components: dict[str, Any]) -> None:
    """Add the descriptions to the schemas of the enumerations, values in declaration order."""
    for name, descriptions in meanings().items():
        if name in components:
            components[name] |= {"enum": list(descriptions), "x-enumDescriptions": descriptions}
