"""The filter by a property, in Python and in SQL, and the masks of properties."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.properties import (
    PropertyFilter,
    PropertyOperator,
    decoded,
    is_personal,
    visible,
)
from ilara_admin.core import db

EQUALS, NOT_EQUALS = PropertyOperator.EQUALS, PropertyOperator.NOT_EQUALS
AT_LEAST, AT_MOST = PropertyOperator.AT_LEAST, PropertyOperator.AT_MOST
CONTAINS, EXISTS = PropertyOperator.CONTAINS, PropertyOperator.EXISTS
LONG = "123456789012345678901234567890"


@pytest.mark.parametrize(
    ("operator", "value", "properties", "expected"),
    [
        (EXISTS, "", '{"a": null}', True),
        (EXISTS, "", '{"b": 1}', False),
        (EQUALS, "5", '{"a": 5}', True),
        (EQUALS, "5", '{"a": 5.0}', True),
        (EQUALS, "5", '{"a": "5"}', True),
        (EQUALS, "5", '{"a": "5.0"}', False),
        (EQUALS, "1", '{"a": true}', False),
        (EQUALS, "true", '{"a": true}', True),
        (EQUALS, "true", '{"a": "true"}', True),
        (EQUALS, "null", '{"a": null}', True),
        (EQUALS, "null", "{}", False),
        (EQUALS, "0.1", '{"a": 0.1}', True),
        (EQUALS, LONG, f'{{"a": {LONG}}}', True),
        (EQUALS, LONG, f'{{"a": {LONG[:-1]}1}}', False),
        (EQUALS, "x", '{"a": ["x"]}', False),
        (NOT_EQUALS, "5", '{"a": 6}', True),
        (NOT_EQUALS, "5", '{"a": 5}', False),
        (NOT_EQUALS, "5", "{}", True),
        (AT_LEAST, "5", '{"a": 5}', True),
        (AT_LEAST, "5", '{"a": 4.99}', False),
        (AT_LEAST, "5", '{"a": "9"}', False),
        (AT_LEAST, "0", '{"a": true}', False),
        (AT_LEAST, "5", '{"a": 1e400}', True),
        (AT_MOST, "-1", '{"a": -1}', True),
        (AT_MOST, "-1", '{"a": 0}', False),
        (CONTAINS, "wor", '{"a": "sword"}', True),
        (CONTAINS, "WOR", '{"a": "sword"}', False),
        (CONTAINS, "5", '{"a": [4, 5]}', True),
        (CONTAINS, "5", '{"a": ["5"]}', True),
        (CONTAINS, "5", '{"a": 5}', False),
        (CONTAINS, "5", '{"a": {"5": 5}}', False),
        (CONTAINS, "5", '{"a": [[5]]}', False),
    ],
)
def test_filter__matches(
    operator: PropertyOperator, value: str, properties: str, expected: bool
) -> None:
    wanted = PropertyFilter("a", operator, value)
    assert not wanted.problem
    assert wanted.matches(decoded(properties.encode())) is expected


@pytest.mark.parametrize("operator", PropertyOperator)
def test_filter_without_emails__tells_nothing_about_an_address(operator: PropertyOperator) -> None:
    """Whatever the value, the answer is the same for two addresses."""
    answers = {
        PropertyFilter("a", operator, value, without_emails=True).matches({"a": address})
        for value in ("ann", "ann@example.com", "5")
        for address in ("ann@example.com", "bob@example.com", ["ann@example.com"])
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("operator", "value", "problem"),
    [
        (EQUALS, "", "Give a value"),
        (CONTAINS, "", "Give a value"),
        (AT_LEAST, "many", "needs a number"),
        (AT_MOST, "1e999", "needs a number"),
        (AT_MOST, "NaN", "needs a number"),
        (EXISTS, "", ""),
    ],
)
def test_impossible_value__has_a_problem(
    operator: PropertyOperator, value: str, problem: str
) -> None:
    found = PropertyFilter("a", operator, value).problem
    assert found.startswith(problem) if not problem else problem in found


# --- Agreement of Python and SQL ------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", "5", "5.0", "-0", "1e2", "0.10", "true", "null", "", "é", "x@y.z", "%"]
)
NUMBERS = st.sampled_from(["5", "5.0", "0.1", "0.10", "1E+2", "-0.0", "-7", LONG, "1e300", "100"])
SCALARS = st.one_of(
    WORDS.map(json.dumps),
    NUMBERS,
    st.sampled_from(["true", "false", "null"]),
    st.text('a5@\\"é ', max_size=4).map(json.dumps),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    SCALARS.map(lambda value: f'{{"a": {value}}}'),
)
PROPERTIES = st.dictionaries(st.sampled_from(["a", "b", "a.b", "é"]), VALUES, max_size=3).map(
    lambda items: "{" + ", ".join(f"{json.dumps(key)}: {each}" for key, each in items.items()) + "}"
)
FILTERS = st.builds(
    PropertyFilter,
    st.sampled_from(["a", "b", "a.b", "é"]),
    st.sampled_from(PropertyOperator),
    st.one_of(WORDS, NUMBERS, st.text("a5@é", max_size=3)),
    st.booleans(),
).filter(lambda each: not each.problem)


@pytest.mark.django_db
@settings(max_examples=25, deadline=None)
@given(st.lists(FILTERS, min_size=5, max_size=8), st.lists(PROPERTIES, min_size=5, max_size=8))
def test_python_and_sql__agree(wanted: list[PropertyFilter], documents: list[str]) -> None:
    params: list[Any] = [documents]

    def bind(value: Any) -> str:
        params.append(value)
        return f"${len(params)}"

    columns = ", ".join(each.sql(bind) for each in wanted)
    rows = db.fetch_all(
        f"""SELECT {columns} FROM unnest($1::text[]::jsonb[])
            WITH ORDINALITY AS given(properties, place) ORDER BY place""",
        params,
    )
    expected = [
        tuple(each.matches(decoded(document.encode())) for each in wanted) for document in documents
    ]
    assert rows == expected


# --- Masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "masked"),
    [
        ('{"level": 5}', '{"level": 5}'),
        ('{"phone": "0171", "n": 1.10}', '{"phone":"0***","n":1.10}'),
        ('{"phone": [1, {"x": "y"}]}', '{"phone":"***"}'),
        ('{"a": "to ann@example.com, please"}', '{"a":"to a***@example.com, please"}'),
        ('{"deep": [{"mail": "bob@x.de"}]}', '{"deep":[{"mail":"b***@x.de"}]}'),
        ('{"bob@x.de": 1}', '{"b***@x.de":1}'),
        (f'{{"phone": "1", "n": {LONG}}}', f'{{"phone":"1***","n":{LONG}}}'),
    ],
)  # fmt: skip
def test_personal_properties_and_addresses__are_masked(properties: str, masked: str) -> None:
    assert visible(properties.encode(), ["phone"]).decode() == masked
    assert is_personal(properties.encode(), ["phone"]) == (properties != masked)


def test_numbers__are_decoded_exactly() -> None:
    assert decoded(b'{"a": 0.1, "b": 12345678901234567890}') == {
        "a": Decimal("0.1"),
        "b": 12345678901234567890,
    }
