"""Statistics of results. Imports no Django."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arm:
    """Sums over the players of a variant who have a value. `total` and `squares` are those of the
    values, `before` and `before_squares` those of the values in the 14 days before the exposure,
    0 for players without one; `products` is the sum of value times value before."""

    players: int
    total: float
    squares: float
    before: float = 0.0
    before_squares: float = 0.0
    products: float = 0.0
