"""JSON Schema as text, for the API reference. Imports no Django."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ilara_admin.api.json_schema import (
    END,
    INTEGER_RANGE,
    LINE_NAME,
    NAME,
    NO_CONTROLS,
    NO_NUL,
    UUID_PATTERN,
)

type Schema = Mapping[str, Any]

FORMATS = {"uuid": "UUID", "date-time": "time", "decimal": "number"}
PLAIN = {"boolean": "true or false", "string": "string", "number": "number", "null": "null"}
SMALL = 12  # fields
MEANINGS = "x-enumDescriptions"
LONG_PATTERN = 40  # characters; longer patterns are explained by their description
PATTERNS = {
    UUID_PATTERN: "UUID",
    NO_CONTROLS: "string without control characters",
    NAME: "string without spaces at its ends",
    LINE_NAME: "string without control characters and without spaces at its ends",
}


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is text, `values` are those of an enumeration with their descriptions. `fields` are
    nested, and `note` describes all of them; a field named … stands for any name."""

    name: str
    type: str
    required: bool = True
    text: str = ""
    values: tuple[tuple[str, str], ...] = ()
    fields: tuple["Field", ...] = ()
    note: str = ""
    example: Any = None

    @property
    def is_small(self) -> bool:
        """Whether it has few enough nested fields to show all."""
        return sum(1 for _ in self.walk()) <= SMALL

    def walk(self) -> Iterator["Field"]:
        yield self
        for each in self.fields:
            yield from each.walk()


class SchemaText:
    """Converts schemas with references to `components`."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def field(self, name: str, schema: Schema, *, required: bool = True) -> Field:
        return self._field(name, schema, required, ())

    def _field(self, name: str, schema: Schema, required: bool, inside: tuple[str, ...]) -> Field:
        parts = [self._resolved(part) for part in _parts(schema)]
        values = [part[MEANINGS].items() for part in parts if MEANINGS in part]
        note, fields = self._fields(schema, inside)
        return Field(
            name=name,
            type=self.type(schema),
            required=required,
            text=schema.get("description") or _own_text(parts),
            values=tuple(values[0]) if values else (),
            fields=fields,
            note=note,
            example=_example(parts),
        )

    # --- Types ---

    def type(self, schema: Schema) -> str:
        """The type with its bounds: "string, 1 to 255 characters, or null"."""
        schema = self._resolved(schema)
        if len(parts := _parts(schema)) > 1 and "properties" not in schema:
            types = list(dict.fromkeys(self.type(part) for part in parts))
            if len(types) == 1:
                return types[0]
            last = f", or {types[-1]}" if any(", " in each for each in types) else ""
            return ", ".join(types[:-1]) + (last or f" or {types[-1]}")
        if parts != [schema]:
            return self.type(parts[0])
        if "enum" in schema:
            return "one of these" if MEANINGS in schema else _choice(schema["enum"])
        if "const" in schema:
            return _literal(schema["const"])
        kind = schema.get("type")
        if isinstance(kind, list) or kind is None:
            return "any JSON"
        return str(getattr(self, f"_{kind}", self._plain)(schema))

    def _plain(self, schema: Schema) -> str:
        return PLAIN[schema["type"]]

    def _string(self, schema: Schema) -> str:
        pattern = schema.get("pattern", "")
        if kind := FORMATS.get(schema.get("format", "")):
            return kind
        kind = PATTERNS.get(pattern, "string")
        parts = [kind, _span(schema.get("minLength"), schema.get("maxLength"), "characters")]
        known = pattern in (*PATTERNS, NO_NUL["pattern"])
        shown = pattern.replace(END, "$")
        if pattern and not known and len(shown) < LONG_PATTERN:
            parts.append(f"pattern `{shown}`")
        return ", ".join(filter(None, parts))

    def _integer(self, schema: Schema) -> str:
        return ", ".join(filter(None, ["integer", _range(schema)]))

    def _number(self, schema: Schema) -> str:
        return " ".join(filter(None, ["number", _range(schema)]))

    def _array(self, schema: Schema) -> str:
        count = _span(schema.get("minItems"), schema.get("maxItems"), "")
        items = schema.get("items", {})
        of = self.type(items)
        kind = {"object": "objects", "any JSON": "values", "string": "strings"}.get(of, of)
        return " ".join(filter(None, ["list of", count, kind]))

    def _object(self, schema: Schema) -> str:
        if most := schema.get("maxProperties"):
            return f"object, at most {most} keys"
        return "object"

    # --- Nested fields ---

    def _fields(self, schema: Schema, inside: tuple[str, ...]) -> tuple[str, tuple[Field, ...]]:
        """The note about the nested fields, and the fields."""
        notes: list[str] = []
        fields: dict[str, Field] = {}
        for part in _parts(schema):
            name = part.get("$ref", "").rpartition("/")[2]
            whole = self._resolved(part)
            if name and name in inside:
                notes.append("Can be nested.")
                continue
            within = (*inside, name) if name else inside
            if whole.get("type") == "array":
                note, found = self._fields(whole.get("items", {}), within)
                notes.append(note)
                fields |= {each.name: each for each in found}
            elif "properties" in whole:
                notes.append(whole.get("description", "") if name else "")
                required = whole.get("required", ())
                for each, of in whole["properties"].items():
                    fields.setdefault(each, self._field(each, of, each in required, within))
            elif self._is_mapping(whole):
                field = self._field("…", whole["additionalProperties"], True, within)
                fields["…"] = field
            elif len(_parts(whole)) > 1:
                note, found = self._fields(whole, within)
                notes.append(note)
                fields |= {each.name: each for each in found}
        return " ".join(filter(None, dict.fromkeys(notes))), tuple(fields.values())

    def _is_mapping(self, schema: Schema) -> bool:
        """Whether it is an object with arbitrary keys and values of a known type."""
        values = schema.get("additionalProperties")
        return isinstance(values, dict) and not values.get("$ref", "").endswith("/JsonValue")

    def _resolved(self, schema: Schema) -> Schema:
        name = schema.get("$ref", "").rpartition("/")[2]
        return self._components[name] if name else schema


def _parts(schema: Schema) -> list[Schema]:
    """The alternatives, or the schema itself if there are none."""
    if "properties" in schema:
        return [schema]
    # Without the empty text, which optional fields take: the conventions explain it.
    parts = [part for part in schema.get("anyOf", ()) if part.get("maxLength") != 0]
    return parts or [schema]


def _own_text(parts: list[Schema]) -> str:
    """The first description of an alternative that is not a struct, whose description is about its
    fields, nor an enumeration."""
    plain = (part for part in parts if "properties" not in part and "enum" not in part)
    return next((part["description"] for part in plain if "description" in part), "")


def _example(parts: list[Schema]) -> Any:
    return next((part["examples"][0] for part in parts if "examples" in part), None)


def _span(least: int | None, most: int | None, nouns: str) -> str:
    """A range with its unit, such as "1 to 255 characters"."""
    if most:
        span = f"{least:,} to {most:,}" if least else f"at most {most:,}"
    else:
        span = f"at least {least:,}" if least else ""
    return f"{span} {nouns}" if span and nouns else span


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is not None and below is not None:
        return f"above {above:,} and below {below:,}"
    if most == INTEGER_RANGE.stop - 1:
        most = None
    if above is not None:
        return f"above {above:,}" + (f" and at most {most:,}" if most is not None else "")
    if least is not None and most is not None:
        return f"{least:,} to {most:,}"
    if least is not None:
        return f"{least:,} or more"
    return f"at most {most:,}" if most is not None else ""


def _choice(values: list[Any]) -> str:
    return " or ".join(_literal(value) for value in values)


def _literal(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
