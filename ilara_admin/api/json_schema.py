"""Types and bounds that bodies share, as the decoder checks them and as JSON Schema publishes them.
Imports no Django.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec

MAX_LEVELS = 16
MAX_KEY_CHARACTERS = 128
INTEGER_RANGE = range(-(2**63), 2**63)

# The end of the text for Python and for JSON Schema alike: Python's $ lets a last newline pass.
END = r"(?![\s\S])"
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*" + END
UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
UUID_PATTERN = f"^{UUID}{END}"
EXAMPLE_ID = "550e8400-e29b-41d4-a716-446655440000"
PlayerId = Annotated[
    str,
    msgspec.Meta(
        pattern=UUID_PATTERN,
        description="The `id` of a player, which registering returns.",
        examples=[EXAMPLE_ID],
    ),
]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
YEARS = range(1970, 2100)
# A time that a caller sends, in a year that every part of the system can hold.
SentMoment = Annotated[
    Moment,
    msgspec.Meta(
        examples=["2026-05-31T12:00:00Z"],
        extra_json_schema={"pattern": "^(19[7-9]|20[0-9])[0-9]-"},
    ),
]

# What payload.py lets pass, in JSON Schema. It has no words for depth, nor for bounds of integers
# alone: 1e300 is one, too, as far as it can see.
REF = "#/components/schemas/{name}"
NO_NUL = {"pattern": r"^[^\x00]*" + END}
JSON_OBJECT: dict[str, Any] = {
    "propertyNames": {"minLength": 1, "maxLength": MAX_KEY_CHARACTERS, **NO_NUL},
    "additionalProperties": {"$ref": REF.format(name="JsonValue")},
}
JSON_VALUE: dict[str, Any] = {
    "title": "JsonValue",
    "description": f"Any JSON, {MAX_LEVELS} levels deep at most, counted from the body. Integers "
    "written without a fraction or an exponent fit into 64 bits; no text holds the character NUL.",
    "type": ["null", "boolean", "number", "string", "array", "object"],
    "items": {"$ref": REF.format(name="JsonValue")},
    **NO_NUL,
    **JSON_OBJECT,
}
referred: list[type[msgspec.Struct]] = []


def ref(struct: type[msgspec.Struct]) -> dict[str, str]:
    """A reference to a struct's schema, for a field whose type cannot say it."""
    referred.append(struct)
    return {"$ref": REF.format(name=struct.__name__)}
