"""Schemas in words."""

from typing import Any

import pytest

from ilara_admin.api.json_schema import END, JSON_VALUE, NO_CONTROLS, NO_NUL, UUID_PATTERN
from ilara_admin.apidocs.schema_text import Field, SchemaText

NODE: dict[str, Any] = {
    "type": "object",
    "description": "A part of a tree.",
    "properties": {
        "name": {"type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
    },
    "required": ["name"],
}
COLOUR = {"enum": ["red", "blue"], "x-enum-descriptions": {"red": "It glows.", "blue": "It cools."}}
WORDS = SchemaText({"Node": NODE, "Colour": COLOUR, "JsonValue": JSON_VALUE})
TEXT: dict[str, Any] = {"type": "string"}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any JSON"),
        ({"$ref": "#/components/schemas/JsonValue"}, "any JSON"),
        (TEXT, "text"),
        (TEXT | NO_NUL, "text"),
        (TEXT | {"minLength": 1, "maxLength": 255}, "text, 1 to 255 characters"),
        (TEXT | {"maxLength": 255}, "text, at most 255 characters"),
        (TEXT | {"minLength": 3}, "text, at least 3 characters"),
        (TEXT | {"pattern": NO_CONTROLS}, "text without control characters"),
        (TEXT | {"pattern": f"^[a-z]{{3}}{END}"}, "text, like `^[a-z]{3}$`"),
        (TEXT | {"pattern": "x" * 60}, "text"),
        (TEXT | {"pattern": UUID_PATTERN}, "UUID"),
        (TEXT | {"format": "uuid"}, "UUID"),
        (TEXT | {"format": "date-time"}, "time"),
        (TEXT | {"format": "date-time", "pattern": "^20"}, "time"),
        ({"type": "number", "format": "decimal"}, "number"),
        ({"type": "boolean"}, "true or false"),
        ({"const": False}, "`false`"),
        ({"type": "integer"}, "whole number"),
        ({"type": "integer", "minimum": 0}, "whole number, 0 or more"),
        ({"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "whole number, 0 or more"),
        ({"type": "integer", "minimum": 1, "maximum": 2000}, "whole number, 1 to 2,000"),
        ({"type": "integer", "maximum": 9}, "whole number, at most 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 9}, "number above 0 and at most 9"),
        ({"enum": ["true", "false"]}, "`true` or `false`"),
        ({"$ref": "#/components/schemas/Colour"}, "one of these"),
        ({"type": "object"}, "object"),
        ({"type": "object", "maxProperties": 9}, "object, at most 9 names"),
        ({"type": "array", "items": TEXT}, "list of texts"),
        ({"type": "array", "items": {}, "maxItems": 9}, "list of at most 9 values"),
        ({"type": "array", "items": NODE, "minItems": 1, "maxItems": 9}, "list of 1 to 9 objects"),
        ({"anyOf": [TEXT, NULL]}, "text or null"),
        ({"anyOf": [TEXT | {"maxLength": 9}, NULL]}, "text, at most 9 characters, or null"),
        ({"anyOf": [NODE, {"$ref": "#/components/schemas/Node"}]}, "object"),
    ],
)
def test_type__is_told_with_its_bounds(schema: dict[str, Any], words: str) -> None:
    assert WORDS.type(schema) == words


def test_field__has_what_its_schema_says_of_it() -> None:
    schema = TEXT | {"description": "What it is called.", "examples": ["Ada"]}
    told = Field("name", "text", False, "What it is called.", example="Ada")
    assert WORDS.field("name", schema, required=False) == told
    nullable = WORDS.field("name", {"anyOf": [schema, NULL]}, required=False)
    assert (nullable.text, nullable.example) == ("What it is called.", "Ada")


def test_values__come_with_their_sentences() -> None:
    field = WORDS.field("colour", {"anyOf": [{"$ref": "#/components/schemas/Colour"}, NULL]})
    assert field.values == (("red", "It glows."), ("blue", "It cools."))
    assert field.type == "one of these or null"


def test_fields_inside__are_told_once_however_deep_they_go() -> None:
    tree = WORDS.field("tree", {"$ref": "#/components/schemas/Node"})
    assert (tree.text, tree.note) == ("", "A part of a tree.")
    name, parts = tree.fields
    assert (name.name, name.required, parts.required) == ("name", True, False)
    assert (parts.type, parts.fields) == ("list of objects", ())
    assert "one inside the other" in parts.note


def test_mapping__tells_what_each_name_holds() -> None:
    schema = {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Node"}}
    (each,) = WORDS.field("trees", schema).fields
    assert (each.name, [field.name for field in each.fields]) == ("…", ["name", "parts"])
    any_json = {
        "type": "object",
        "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
    }
    assert WORDS.field("attributes", any_json).fields == ()


def test_alternatives__are_told_together() -> None:
    other = {"type": "object", "properties": {"leaf": TEXT}, "required": ["leaf"]}
    field = WORDS.field("part", {"anyOf": [{"$ref": "#/components/schemas/Node"}, other, NULL]})
    assert [each.name for each in field.fields] == ["name", "parts", "leaf"]
    assert [each.name for each in field.walk()] == ["part", "name", "parts", "leaf"]
