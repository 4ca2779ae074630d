"""When two values are the same. Imports no Django."""


def same(one: object, other: object) -> bool:
    """Whether two values are equal as JSON: to Python, true is 1, deep inside lists as well."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and one == other
