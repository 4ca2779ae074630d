"""Equality of JSON values. Imports no Django."""

import json
from typing import Any


def json_equal(one: object, other: object) -> bool:
    """Whether two values are equal as JSON: to Python, true is 1, deep inside lists as well."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(
                json_equal(one[key], other[key]) for key in one
            )
        case list(), list():
            return len(one) == len(other) and all(map(json_equal, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def identical(one: Any, other: Any) -> bool:
    """Whether two values have the same JSON text: 1 and 1.0 are equal, but not identical."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
