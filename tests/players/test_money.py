from decimal import Decimal
from typing import Any

import pytest

from ilara_admin.api.errors import ApiError
from players.money import parse_amount


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        (5, "5"),
        (Decimal("4.99"), "4.99"),
        (Decimal("0.1"), "0.1"),
        ("4.99", "4.99"),
        ("0.01", "0.01"),
        ("007.5", "7.5"),
        ("999999999.99", "999999999.99"),
    ],
)
def test_amount__is_exact_to_the_cent(given: Any, amount: str) -> None:
    assert parse_amount(given, None) == Decimal(amount)
    if isinstance(given, str):
        assert parse_amount(None, given) == Decimal(amount)


@pytest.mark.parametrize(
    "given",
    [
        0,
        Decimal("0.00"),
        -1,
        Decimal("4.999"),
        Decimal("1E+2"),
        1_000_000_000,
        "",
        " 4.99",
        "4.99\n",
        "4,99",
        "4_9",
        "+4.99",
        ".5",
        "5.",
        "1e3",
        "NaN",
        "Infinity",
        "٤",
        True,
        [],
        {},
    ],
)
def test_invalid_amount__is_refused(given: Any) -> None:
    with pytest.raises(ApiError, match="amount must be a positive decimal"):
        parse_amount(given, None)


def test_missing_amount__is_refused() -> None:
    with pytest.raises(ApiError, match="amount is required"):
        parse_amount(None, None)


def test_amounts_in_body_and_query__must_be_equal() -> None:
    assert parse_amount(5, "5.00") == 5
    with pytest.raises(ApiError, match="must be equal"):
        parse_amount(5, "5.01")
