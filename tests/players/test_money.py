from decimal import Decimal
from typing import Any

import pytest

from ilara_admin.api.bodies import checked_value, parse_body
from ilara_admin.api.errors import ApiError
from players.money import parse_amount
from tests.inputs import inputs

AMOUNTS = inputs("amounts")


def amount_of(text: str, currency: str) -> Decimal:
    data = parse_body(b'{"amount":' + text.encode() + b"}", exact_numbers=True)
    value = checked_value(data["amount"], "amount", level=2)
    return parse_amount(None if value == "" else value, None, currency.upper())


@pytest.mark.parametrize("given", AMOUNTS, ids=lambda given: f"{given['text']} {given['currency']}")
def test_amount__is_judged_by_value(given: dict[str, Any]) -> None:
    if "amount" in given:
        found = amount_of(given["text"], given["currency"])
        assert found == Decimal(given["amount"])
        return
    with pytest.raises(ApiError, match=r"^amount ") as error:
        amount_of(given["text"], given["currency"])
    assert given["says"] in error.value.message
    assert error.value.field == "amount"


@pytest.mark.parametrize("given", AMOUNTS, ids=lambda given: f"{given['text']} {given['currency']}")
def test_amount_in_the_query__is_judged_by_value(given: dict[str, Any]) -> None:
    text = given["text"].strip('"')
    if "amount" in given:
        assert parse_amount(None, text, given["currency"].upper()) == Decimal(given["amount"])
    else:
        with pytest.raises(ApiError, match=r"^amount "):
            parse_amount(None, text, given["currency"])


@pytest.mark.parametrize("zero", [0, 0.0, Decimal("0.00"), "0", "0.0", "0e5", "00", "0E+2"])
def test_zero__is_refused(zero: Any) -> None:
    with pytest.raises(ApiError, match="above 0"):
        parse_amount(zero, None, "USD")


@pytest.mark.parametrize(
    ("amount", "currency", "stored"),
    [
        ("5", "USD", "5.00"),
        ("4.990", "USD", "4.99"),
        ("1.5", "KWD", "1.500"),
        ("1e2", "JPY", "100"),
    ],
)
def test_amount__has_the_places_of_its_currency(amount: str, currency: str, stored: str) -> None:
    assert str(parse_amount(amount, None, currency)) == stored


@pytest.mark.parametrize(
    "text", ["4." + "9" * 1_000_000, "9" * 1_000_000, "4.99" + "0" * 1_000_000]
)
def test_a_million_digits__are_read_quickly(text: str) -> None:
    for given in (text, Decimal(text)):
        if text.endswith("0"):
            assert parse_amount(given, None, "USD") == Decimal("4.99")
        else:
            with pytest.raises(ApiError, match=r"^amount "):
                parse_amount(given, None, "USD")


@pytest.mark.parametrize("given", ["4_9", "+4.99", ".5", "5.", "4.99\n", "0x10", "1e", {}, False])
def test_other_texts__are_refused(given: Any) -> None:
    with pytest.raises(ApiError, match=r"^amount must be a number"):
        parse_amount(given, None, "USD")


def test_missing_amount__is_refused() -> None:
    for in_query in (None, ""):
        with pytest.raises(ApiError, match="amount is required"):
            parse_amount(None, in_query, "USD")


def test_amounts_in_body_and_query__must_be_equal() -> None:
    assert parse_amount(5, "5.00", "USD") == 5
    with pytest.raises(ApiError, match="must be equal"):
        parse_amount(5, "5.01", "USD")
