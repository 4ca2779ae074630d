"""Amounts of money. Always decimal, never float, and judged by value: 4.990 is 4.99."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from ilara_admin.api.errors import ApiError, invalid
from ilara_admin.api.json_schema import END
from ilara_admin.core.currencies import in_places, places_of

BELOW = 1_000_000_000
# An amount as text: a JSON number above zero, also with leading zeros.
AMOUNT_PATTERN = r"^(?![0.]+([eE].*)?(?![\s\S]))[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?" + END
_amount = re.compile(AMOUNT_PATTERN)
FORM = f"above 0 and below {BELOW:,}, such as 4.99"


def parse_amount(in_body: Any, in_query: str | None, currency: str) -> Decimal:
    """The amount of a purchase, from the body or `?amount=`, with the decimal places of its
    currency. If both are given, they must be equal."""
    given = [each for each in (in_body, in_query or None) if each is not None]
    if not given:
        raise invalid("amount is required, in the body or as ?amount=4.99", "amount")
    amounts = {_parse(each, currency) for each in given}
    if len(amounts) > 1:
        raise invalid("amount in the body and ?amount= must be equal", "amount")
    return amounts.pop()


def _parse(given: Any, currency: str) -> Decimal:
    if isinstance(given, str) and "," in given:
        raise _refusal("must be written with a decimal point and without commas, such as 4.99")
    if isinstance(given, bool) or not isinstance(given, str | int | float | Decimal):
        raise _refusal(f"must be a number or a text with one, {FORM}")
    try:
        if isinstance(given, str) and not _amount.fullmatch(given):
            raise ValueError
        value = Decimal(given) if isinstance(given, str | int | Decimal) else Decimal(str(given))
    except (InvalidOperation, ValueError):
        raise _refusal(f"must be a number {FORM}") from None
    # Before the places: rounding would write out a huge exponent.
    if not (value.is_finite() and 0 < value < BELOW):
        raise _refusal(f"must be {FORM}")
    rounded = in_places(value, currency)
    if rounded != value:
        raise _refusal(_too_precise(currency))
    return rounded


def _too_precise(currency: str) -> str:
    places = places_of(currency)
    if not places:
        return f"must be a whole number: {currency} has no decimal places"
    return f"must have at most {places} decimal places, those of {currency}"


def _refusal(problem: str) -> ApiError:
    return invalid(f"amount {problem}", "amount")
