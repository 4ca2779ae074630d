"""Enumerations of the API that explain themselves. Imports no Django."""

from enum import StrEnum
from typing import Any, Self


class DocumentedEnum(StrEnum):
    """Each member is a value and a sentence that says what it means: `OFF = "off", "It is off."`

    A member without a sentence is a TypeError at import, so nothing is published unexplained."""

    _value_: str
    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        if not meaning:  # a default, since type checkers take the lookup Enum("value") for this
            raise TypeError(f"{value} needs a sentence that says what it means")
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


def meanings() -> dict[str, dict[str, str]]:
    """The sentences of every such enumeration, by its name and in its order."""
    return {
        each.__name__: {member.value: member.meaning for member in each}
        for each in DocumentedEnum.__subclasses__()
    }


def with_meanings(components: dict[str, Any]) -> None:
    """Put the sentences into the schemas of the enumerations, values in the order of the code."""
    for name, told in meanings().items():
        if name in components:
            components[name] |= {"enum": list(told), "x-enum-descriptions": told}
