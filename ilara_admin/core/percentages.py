"""Percentages as integers in thousandths of a percent: 12500 is 12.5 %. Imports no Django."""

from decimal import Decimal


def percent(amount: int) -> str:
    """12500 as `12.5 %`."""
    return f"{as_percent(amount)} %"


def as_percent(amount: int) -> Decimal:
    """12500 as Decimal("12.5"), without trailing zeros."""
    return Decimal(f"{Decimal(amount) / 1000:f}")


def thousandths(percent: Decimal) -> int:
    """Decimal("12.5") as 12500."""
    return int(percent * 1000)
