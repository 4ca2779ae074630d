"""Amounts of money. Always decimal, never float."""

import re
from decimal import Decimal
from typing import Any

from ilara_admin.api.errors import invalid
from ilara_admin.api.json_schema import END

# Greater than zero.
AMOUNT_PATTERN = r"^(?!0+(\.0+)?(?![\s\S]))[0-9]{1,9}(\.[0-9]{1,2})?" + END
AMOUNT = re.compile(AMOUNT_PATTERN)
FORM = "a positive decimal with at most two places, at most 999999999.99, such as 4.99"


def parse_amount(in_body: Any, in_query: str | None) -> Decimal:
    """The amount of a purchase, from the body or `?amount=`. If both are given, they must match."""
    amounts = {_parse(given) for given in (in_body, in_query) if given is not None}
    if not amounts:
        raise invalid("amount is required, in the body or as ?amount=4.99", "amount")
    if len(amounts) > 1:
        raise invalid("amount in the body and ?amount= must be equal", "amount")
    return amounts.pop()


def _parse(given: Any) -> Decimal:
    text = given if isinstance(given, str) else str(given)
    if isinstance(given, bool) or not AMOUNT.fullmatch(text):
        raise invalid(f"amount must be {FORM}", "amount")
    return Decimal(text)
