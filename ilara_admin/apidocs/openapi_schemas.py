"""The schemas of the bodies and replies in the specification of the API."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ilara_admin.api.bodies import optional_texts
from ilara_admin.api.enums import with_meanings
from ilara_admin.api.json_schema import JSON_OBJECT, JSON_VALUE, REF, referred
from ilara_admin.apidocs.operations import Operation

SUCCESS = {
    "title": "Success",
    "description": "The envelope of every success.",
    "type": "object",
    "properties": {"success": {"const": True}, "data": {}},
    "required": ["success", "data"],
}
EMPTY = {"type": "string", "maxLength": 0}


def schemas_of(operations: Sequence[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema by type, and the components they refer to."""
    types = _types(operations)
    found, components = msgspec.json.schema_components(types, ref_template=REF)
    bodies = [each.endpoint.body for each in operations if each.endpoint.body]
    for body in dict.fromkeys(bodies):
        components[body.__name__].update(getattr(body, "json_schema", {}))
        text = msgspec.json.encode(components[body.__name__]).decode()
        # The items of a body have the same bounds as the body.
        for name in {body.__name__, *re.findall(REF.format(name=r"(\w+)"), text)} - {"JsonValue"}:
            components[name].update(JSON_OBJECT)
    for struct in (*dict.fromkeys(bodies), *referred):
        fields = components[struct.__name__]["properties"]
        for name in optional_texts(struct):
            fields[name] = _or_empty(fields[name])
    with_meanings(components)
    components |= {"Success": SUCCESS, "JsonValue": JSON_VALUE}
    return dict(zip(types, found, strict=True)), _tidied(components)


def _types(found: Iterable[Operation]) -> list[Any]:
    """The types of all bodies and replies, without duplicates."""
    types = [
        each
        for operation in found
        for each in (
            operation.endpoint.body,
            operation.docs.reply,
            operation.docs.failure,
        )
        if each is not None
    ]
    return list(dict.fromkeys([*types, *referred]))


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional field that also takes empty text, unless it does anyway."""
    parts = schema.get("anyOf", [schema])
    texts = [part for part in parts if part.get("type") == "string"]
    if any("format" not in text and re.search(text.get("pattern", ""), "") for text in texts):
        return schema
    rest = {} if parts == [schema] else {name: schema[name] for name in schema if name != "anyOf"}
    return {**rest, "anyOf": [*parts, EMPTY]}


def _tidied(schema: Any) -> Any:
    """Remove empty keywords and null defaults. Decimals become numbers (msgspec's default is
    strings), and a multiple of 1 an integer."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            schema = schema | {"type": "number"}
        if schema.get("multipleOf") == 1:
            schema = {name: value for name, value in schema.items() if name != "multipleOf"}
            schema["type"] = "integer"
        if isinstance(text := schema.get("description"), str):
            schema = schema | {"description": " ".join(text.split())}
        return {
            name: _tidied(value)
            for name, value in schema.items()
            if (name, value) not in (("default", None), ("required", []))
        }
    return [_tidied(item) for item in schema] if isinstance(schema, list) else schema
