"""Types and bounds shared by bodies, as the decoder checks them and JSON Schema publishes them.
Imports no Django.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from ilara_admin.core.names import SPACE_CLASS

MAX_LEVELS = 16
MAX_KEY_CHARACTERS = 128
INTEGER_RANGE = range(-(2**63), 2**63)

# End of text in both Python and JSON Schema regular expressions: Python's $ allows a newline.
END = r"(?![\s\S])"
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*" + END
# What a pattern can say of core/names.py, for names without NUL and for names without controls.
NAME = rf"^[^{SPACE_CLASS}]([^\x00]*[^{SPACE_CLASS}])?{END}"
LINE_NAME = rf"^[^{SPACE_CLASS}]([^\x00-\x1f\x7f]*[^{SPACE_CLASS}])?{END}"
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
UUID_PATTERN = f"^{UUID}{END}"
EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"
PlayerId = Annotated[
    str,
    msgspec.Meta(
        pattern=UUID_PATTERN,
        description="The `id` of a player, as returned by registration.",
        examples=[EXAMPLE_ID],
        extra_json_schema={"format": "uuid"},
    ),
]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
YEARS = range(1970, 2100)
# A time that a caller sends, as text: bodies.parse_moment reads it. The specification names the
# format of RFC 3339; the reader accepts more.
SentMoment = Annotated[
    str,
    msgspec.Meta(
        examples=["2026-05-31T12:00:00Z"],
        extra_json_schema={"format": "date-time", "pattern": "^(19[7-9]|20[0-9])[0-9]-"},
    ),
]

# What bodies.py accepts, as JSON Schema, which cannot express depth.
REF = "#/components/schemas/{name}"
NO_NUL = {"pattern": r"^[^\x00]*" + END}
JSON_OBJECT: dict[str, Any] = {
    "propertyNames": {"minLength": 1, "maxLength": MAX_KEY_CHARACTERS, **NO_NUL},
    "additionalProperties": {"$ref": REF.format(name="JsonValue")},
}
# Bounds below `if` and not beside it: generators of clients ignore `if`, so their type is any JSON.
# From a list of types or from bounds for objects they make types that hold no plain value.
JSON_VALUE: dict[str, Any] = {
    "title": "JsonValue",
    "description": f"Any JSON, at most {MAX_LEVELS} levels deep, counted from the body. Integers "
    "beyond 64 bits are read as doubles; strings must not contain NUL.",
    "if": {"type": "object"},
    "then": JSON_OBJECT,
    "else": {"items": {"$ref": REF.format(name="JsonValue")}, **NO_NUL},
}
referred: list[type[msgspec.Struct]] = []


def ref(struct: type[msgspec.Struct]) -> dict[str, str]:
    """A reference to a struct's schema, for a field whose type cannot express it."""
    referred.append(struct)
    return {"$ref": REF.format(name=struct.__name__)}
