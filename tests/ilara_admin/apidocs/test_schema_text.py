"""JSON Schema as text."""

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
COLOUR = {"enum": ["red", "blue"], "x-enumDescriptions": {"red": "It glows.", "blue": "It cools."}}
SCHEMAS = SchemaText({"Node": NODE, "Colour": COLOUR, "JsonValue": JSON_VALUE})
TEXT: dict[str, Any] = {"type": "string"}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "any JSON"),
        ({"$ref": "#/components/schemas/JsonValue"}, "any JSON"),
        (TEXT, "string"),
        (TEXT | NO_NUL, "string"),
        (TEXT | {"minLength": 1, "maxLength": 255}, "string, 1 to 255 characters"),
        (TEXT | {"maxLength": 255}, "string, at most 255 characters"),
        (TEXT | {"minLength": 3}, "string, at least 3 characters"),
        (TEXT | {"pattern": NO_CONTROLS}, "string without control characters"),
        (TEXT | {"pattern": f"^[a-z]{{3}}{END}"}, "string, pattern `^[a-z]{3}$`"),
        (TEXT | {"pattern": "x" * 60}, "string"),
        (TEXT | {"pattern": UUID_PATTERN}, "UUID"),
        (TEXT | {"format": "uuid"}, "UUID"),
        (TEXT | {"format": "date-time"}, "time"),
        (TEXT | {"format": "date-time", "pattern": "^20"}, "time"),
        ({"type": "number", "format": "decimal"}, "number"),
        ({"type": "boolean"}, "true or false"),
        ({"const": False}, "`false`"),
        ({"type": "integer"}, "integer"),
        ({"type": "integer", "minimum": 0}, "integer, 0 or more"),
        ({"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "integer, 0 or more"),
        ({"type": "integer", "minimum": 1, "maximum": 2000}, "integer, 1 to 2,000"),
        ({"type": "integer", "maximum": 9}, "integer, at most 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 9}, "number above 0 and at most 9"),
        ({"enum": ["true", "false"]}, "`true` or `false`"),
        ({"$ref": "#/components/schemas/Colour"}, "one of these"),
        ({"type": "object"}, "object"),
        ({"type": "object", "maxProperties": 9}, "object, at most 9 keys"),
        ({"type": "array", "items": TEXT}, "list of strings"),
        ({"type": "array", "items": {}, "maxItems": 9}, "list of at most 9 values"),
        ({"type": "array", "items": NODE, "minItems": 1, "maxItems": 9}, "list of 1 to 9 objects"),
        ({"anyOf": [TEXT, NULL]}, "string or null"),
        ({"anyOf": [TEXT | {"maxLength": 9}, NULL]}, "string, at most 9 characters, or null"),
        ({"anyOf": [NODE, {"$ref": "#/components/schemas/Node"}]}, "object"),
    ],
)
def test_type__is_described_with_its_bounds(schema: dict[str, Any], text: str) -> None:
    assert SCHEMAS.type(schema) == text


def test_field__has_the_metadata_of_its_schema() -> None:
    schema = TEXT | {"description": "The first name.", "examples": ["Ada"]}
    expected = Field("name", "string", False, "The first name.", example="Ada")
    assert SCHEMAS.field("name", schema, required=False) == expected
    nullable = SCHEMAS.field("name", {"anyOf": [schema, NULL]}, required=False)
    assert (nullable.text, nullable.example) == ("The first name.", "Ada")


def test_values__have_descriptions() -> None:
    field = SCHEMAS.field("colour", {"anyOf": [{"$ref": "#/components/schemas/Colour"}, NULL]})
    assert field.values == (("red", "It glows."), ("blue", "It cools."))
    assert field.type == "one of these or null"


def test_recursive_fields__are_listed_once() -> None:
    tree = SCHEMAS.field("tree", {"$ref": "#/components/schemas/Node"})
    assert (tree.text, tree.note) == ("", "A part of a tree.")
    name, parts = tree.fields
    assert (name.name, name.required, parts.required) == ("name", True, False)
    assert (parts.type, parts.fields) == ("list of objects", ())
    assert parts.note == "Can be nested."


def test_mapping__lists_the_fields_of_its_values() -> None:
    schema = {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Node"}}
    (each,) = SCHEMAS.field("trees", schema).fields
    assert (each.name, [field.name for field in each.fields]) == ("…", ["name", "parts"])
    any_json = {
        "type": "object",
        "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
    }
    assert SCHEMAS.field("attributes", any_json).fields == ()


def test_alternatives__are_merged() -> None:
    other = {"type": "object", "properties": {"leaf": TEXT}, "required": ["leaf"]}
    field = SCHEMAS.field("part", {"anyOf": [{"$ref": "#/components/schemas/Node"}, other, NULL]})
    assert [each.name for each in field.fields] == ["name", "parts", "leaf"]
    assert [each.name for each in field.walk()] == ["part", "name", "parts", "leaf"]
