"""Decimal places of currencies. Imports no Django.

Source: ISO 4217, list one, column "minor units". Codes that are not listed there count as having
two, so that an unknown code is never refused.
"""

from decimal import Decimal

DEFAULT_PLACES = 2
_PLACES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
PLACES = {currency: places for places, codes in _PLACES.items() for currency in codes.split()}


def places_of(currency: str) -> int:
    return PLACES.get(currency, DEFAULT_PLACES)


def in_places(amount: Decimal, currency: str) -> Decimal:
    """The amount with the places of its currency, rounded if it has more."""
    return amount.quantize(Decimal(1).scaleb(-places_of(currency)))
