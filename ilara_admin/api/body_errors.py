"""The errors of a refused body: what msgspec found, in words that name the field and the fix."""

import re
from functools import cache
from typing import Any

import msgspec

from ilara_admin.api import hints
from ilara_admin.api.errors import ApiError, invalid
from ilara_admin.api.json_schema import EXAMPLE_ID
from ilara_admin.core.times import EXAMPLE

PLAYER_ID = (
    "player_id must be the id in the reply to POST /v1/players/players, a UUID such as "
    f"{EXAMPLE_ID}. GET /v1/players/players/external/{{external_id}} finds it by external id."
)
TYPES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false",
    "object": "an object", "array": "an array", "null": "null", "decimal": "a number",
    "datetime": f"a time like {EXAMPLE}",
}  # fmt: skip
_TEXT_EXPECTED = re.compile(r"Expected `str( \| null)?`")


def of_struct(
    error: msgspec.ValidationError, data: Any, struct: type[msgspec.Struct], prefix: str
) -> ApiError:
    """Why plain data is no such struct. `prefix` is the path of the data, like `events[3].`."""
    problem, _, place = str(error).partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if path in _moments_in(struct):
        problem = _TEXT_EXPECTED.sub("Expected `datetime`", problem).replace("`int`", "`float`")
    if found := re.search(r"missing required field `(.+)`", problem):
        field = prefix + ".".join(filter(None, [path, found[1]]))
        fix = PLAYER_ID if found[1] == "player_id" else None
        return invalid(f"{field} is required{_other_name(found[1], data, struct)}", field, fix=fix)
    field = prefix + path
    if not field:
        return invalid("The body must be a JSON object")
    if field.endswith("player_id"):
        return invalid("Invalid player_id format", field, fix=PLAYER_ID)
    return invalid(f"{field} {_sentence(problem)}", field)


def not_an_object(data: Any, struct: type[msgspec.Struct]) -> ApiError:
    kind = "an array" if isinstance(data, list) else "text, a number, true, false or null"
    required = [field.name for field in msgspec.structs.fields(struct) if field.required]
    shown = ", ".join(f'"{name}": {"[…]" if name == "events" else "…"}' for name in required)
    example = f": {{{shown}}}" if shown else ""
    return invalid(f"The body must be a JSON object, not {kind}{example}")


@cache
def _moments_in(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The names of the fields that take a time."""
    _, components = msgspec.json.schema_components((struct,))
    fields = components[struct.__name__]["properties"]
    return frozenset(name for name, schema in fields.items() if "date-time" in repr(schema))


def _other_name(wanted: str, data: Any, struct: type[msgspec.Struct]) -> str:
    unknown = set(data) - set(struct.__struct_encode_fields__) if isinstance(data, dict) else ()
    found = hints.closest_name(wanted, sorted(unknown)[: hints.MAX_NAMES])
    return f". You sent {found}: did you mean {wanted}?" if found else ""


def _sentence(problem: str) -> str:
    if found := re.search(r"Expected `(.+?)`, got `(.+?)`", problem):
        wanted = " or ".join(TYPES.get(name, name) for name in found[1].split(" | "))
        return f"must be {wanted}, not {TYPES.get(found[2], found[2])}"
    if found := re.search(r"Expected `(\w+)` of length (>=|<=) (\d+)", problem):
        bound = "at least" if found[2] == ">=" else "at most"
        noun = {"str": "character", "array": "item", "object": "key"}.get(found[1], "item")
        return f"must have {bound} {found[3]} {noun}{'' if found[3] == '1' else 's'}"
    if found := re.search(r"Expected `\w+` (>=|<=|>|<) (\S+)", problem):
        bounds = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
        return f"must be {bounds[found[1]]} {found[2]}"
    if "multiple of 1" in problem:
        return "must be a whole number"
    if "RFC3339" in problem or "datetime" in problem:
        return f"must be {TYPES['datetime']}"
    if "matching regex" in problem:
        return "has characters that are not allowed"
    return f"is invalid: {problem}"
