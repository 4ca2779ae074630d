"""Enumerations with descriptions: every published one has them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from flags.engine.evaluation import Reason
from ilara_admin.api.enums import DocumentedEnum
from ilara_admin.apidocs.openapi import document


class Colour(DocumentedEnum):
    RED = "red", "It glows."


def test_member__has_a_value_and_a_description() -> None:
    assert (Colour.RED.value, Colour.RED.meaning) == ("red", "It glows.")
    assert Colour("red") is Colour.RED
    assert f"{Colour.RED}" == "red"
    assert msgspec.json.decode(msgspec.json.encode(Colour.RED), type=Colour) is Colour.RED


def test_member_without_a_description__is_refused() -> None:
    with pytest.raises(TypeError, match="blue needs a description"):

        class Other(DocumentedEnum):
            BLUE = "blue"


def enumerations(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "enum" in schema:
            yield schema
        for value in schema.values():
            yield from enumerations(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from enumerations(item)


def test_published_enumerations__describe_each_value() -> None:
    """In schemas of bodies and replies; parameters have it in their description."""
    schemas = document()["components"]["schemas"]
    found = list(enumerations(schemas))
    assert {"Reason", "Stage", "RiskLevel", "Code", "RejectionCode"} <= schemas.keys()
    assert len(found) >= 8
    for each in found:
        assert each["enum"] == list(each["x-enumDescriptions"]), each
    assert schemas["Reason"]["enum"] == list(Reason)
