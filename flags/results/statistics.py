"""Statistics of results: lifts with always-valid intervals, the sample-ratio check, and how many
players are needed. Imports no Django.

The formulas are those of gbstats, GrowthBook's package of statistics (packages/stats/gbstats), but
for the limits of a lift, see `compare`.
Relative values are fractions: a lift of 0.05 is 5 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import copysign, erfc, exp, gamma, inf, log, pow, sqrt
from statistics import NormalDist

MIN_PLAYERS = 100  # with a value, in each arm; below there is no verdict
ALPHA = 0.05
POWER = 0.8
# The number of players, in both arms together, for which the intervals are tuned. It must not
# change while an experiment runs, else its intervals no longer hold at all times together.
TUNED_FOR = 5000
# Below this p-value of the sample-ratio check the results are not to be trusted.
RATIO_ALARM = 0.001
LEAST_EXPECTED = 5  # players in each variant, for the chi-square distribution to be close enough
UNBOUNDED = 1000.0  # stands for a lift or a limit without end, 100,000 %, so that JSON can hold it
MOST_PLAYERS = 1 << 40  # in an arm, where the search for a number of players ends


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

    @property
    def mean(self) -> float:
        """0 without players."""
        return self.total / self.players if self.players else 0.0

    @property
    def variance(self) -> float:
        """Of the values, of the sample; 0 for fewer than two players."""
        if self.players < 2:
            return 0.0
        return _centred(self.squares, self.total, self.total, self.players) / (self.players - 1)


@dataclass(frozen=True, slots=True)
class Lift:
    """How an arm differs from the control arm, relative to the control arm's mean.

    `low` and `high` are the limits of the always-valid interval of `lift`, `p` is its p-value. All
    are finite: as long as the control mean may as well be 0, `high` is UNBOUNDED.
    `control_mean` and `mean` are the plain means. If `adjusted`, the lift and its interval use the
    values before the exposure, so that the lift may differ from that of the plain means;
    `reduction` is by which part the interval is narrower for it.
    """

    control_mean: float
    mean: float
    lift: float
    low: float
    high: float
    p: float
    adjusted: bool = False
    reduction: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether the interval excludes no change."""
        return self.low > 0 or self.high < 0


def alpha_of_each(comparisons: int) -> float:
    """The alpha of each interval if so many arms, at least one, are compared with one control: then
    all of their intervals hold together with probability 1 - ALPHA (Bonferroni; Dunn, JASA 56,
    1961, pages 52-64). Like TUNED_FOR, the number must not change while an experiment runs: its
    phases see to that."""
    return ALPHA / comparisons


def compare(
    control: Arm, other: Arm, alpha: float = ALPHA, sample: float = TUNED_FOR
) -> Lift | None:
    """The lift of an arm, with an interval that holds with probability 1 - `alpha` at all times
    together, so that one may look at any time and stop at any time.

    None if there is no verdict: fewer than 100 players in an arm, values that are all the same, or
    too few values other than 0 to say anything.

    The limits are those of Fieller (JRSS B 16, 1954, pages 175-185): the interval has each ratio r
    for which mB - r mA is within the half width of 0, with the variance vB / nB + r^2 vA / nA.
    Where the control mean is known well it is that of the delta method of gbstats, which has the
    variance vB / (mA^2 nB) + vA mB^2 / (mA^4 nA) for mB / mA - 1. Where it is not, as with shares
    of a few percent or revenue, that one calls differences that are not there in 10 to 40 % of
    experiments, because a small mB makes it narrow.
    """
    if min(control.players, other.players) < MIN_PLAYERS:
        return None
    # That all players have the same value may be chance in one arm, but not in both.
    variances = control.variance or other.variance, other.variance or control.variance
    if not all(variances):
        return None
    plain = (
        (control.mean, variances[0] / control.players),
        (
            other.mean,
            variances[1] / other.players,
        ),
    )
    adjusted = _adjusted_means(control, other)
    (mean_a, error_a), (mean_b, error_b) = adjusted or plain
    players = control.players + other.players
    wide = sqrt(players) * half_width(players, alpha, sample)
    sign = -1 if mean_a < 0 else 1
    limits = _ratio_limits(sign * mean_a, error_a, sign * mean_b, error_b, wide)
    if limits is None:
        return None
    low, high = sorted(_finite(sign * (limit - 1)) for limit in limits)
    difference = mean_b - mean_a
    error = sqrt(error_a + error_b)
    return Lift(
        control_mean=control.mean,
        mean=other.mean,
        lift=_finite(difference / abs(mean_a)) if mean_a else copysign(UNBOUNDED, mean_b),
        low=low,
        high=high,
        p=_p_value(difference / error, players, alpha, sample),
        adjusted=adjusted is not None,
        reduction=1 - error / sqrt(plain[0][1] + plain[1][1]) if adjusted else 0.0,
    )


def _ratio_limits(
    mean_a: float, error_a: float, mean_b: float, error_b: float, wide: float
) -> tuple[float, float] | None:
    """The limits of mean_b / mean_a for a mean_a of at least 0. `error_a` and `error_b` are the
    variances of the means, `wide` is the half width in standard errors. None if there are none:
    both means may be 0."""
    if mean_b < 0:
        limits = _ratio_limits(mean_a, error_a, -mean_b, error_b, wide)
        return limits and (-limits[1], -limits[0])
    # A ratio has no scale; without this, squares of what a game client sends could overflow.
    scale = max(mean_a, mean_b) or 1.0
    mean_a, mean_b = mean_a / scale, mean_b / scale
    error_a, error_b = error_a / scale**2, error_b / scale**2
    # The roots of lead r^2 - 2 middle r + rest = 0.
    lead, rest = mean_a**2 - wide**2 * error_a, mean_b**2 - wide**2 * error_b
    if lead <= 0 and rest <= 0:
        return None
    middle = mean_a * mean_b
    upper = middle + sqrt(max(middle**2 - lead * rest, 0.0))
    return rest / upper, upper / lead if lead > 0 else inf


def _finite(lift: float) -> float:
    return max(min(lift, UNBOUNDED), -UNBOUNDED)


def _adjusted_means(
    control: Arm, other: Arm
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The means of both arms with their variances, adjusted by CUPED; None if it is of no use."""
    theta = _theta(control, other)
    middle = (control.before + other.before) / (control.players + other.players)
    found = _adjusted(control, theta, middle), _adjusted(other, theta, middle)
    return found if theta and all(0 < error < inf for _, error in found) else None


def _theta(control: Arm, other: Arm) -> float:
    """The coefficient of CUPED: the covariance of values and values before, by the variance of the
    latter (Deng, Xu, Kohavi and Walker, WSDM 2013, equation 4). Both are pooled from within the
    arms, so that the effect of the change is not in them. 0 if the values before do not vary."""
    products = squares = 0.0
    for arm in (control, other):
        products += _centred(arm.products, arm.total, arm.before, arm.players)
        squares += _centred(arm.before_squares, arm.before, arm.before, arm.players)
    return products / squares if squares > 0 else 0.0


def _adjusted(arm: Arm, theta: float, middle: float) -> tuple[float, float]:
    """The mean of an arm's values y - theta (x - middle), x being those before, and the variance of
    that mean. `middle` is the mean of x in both arms together."""
    n = arm.players
    mean = arm.mean - theta * (arm.before / n - middle)
    squares = (
        _centred(arm.squares, arm.total, arm.total, n)
        - 2 * theta * _centred(arm.products, arm.total, arm.before, n)
        + theta * theta * _centred(arm.before_squares, arm.before, arm.before, n)
    )
    return mean, max(squares, 0.0) / (n - 1) / n


def _centred(products: float, left: float, right: float, players: int) -> float:
    """The sum of products of differences from the means. 0 where only rounding is left, which it
    is for values that are all the same."""
    common = left * right / players
    found = products - common
    return 0.0 if abs(found) <= 1e-12 * abs(common) else found


def rho(alpha: float = ALPHA, sample: float = TUNED_FOR) -> float:
    """The parameter of the normal mixture which makes intervals narrowest at about `sample` players
    (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and
    asymptotic confidence sequences, arXiv 2103.06476, equation 161)."""
    return sqrt((-2 * log(alpha) + log(-2 * log(alpha) + 1)) / sample)


def half_width(players: float, alpha: float = ALPHA, sample: float = TUNED_FOR) -> float:
    """Half the width of the always-valid interval of a mean of values with variance 1, of so many
    players (the same, equation 9)."""
    mixed = players * rho(alpha, sample) ** 2 + 1
    return sqrt(2 * mixed * log(sqrt(mixed) / alpha) / (players * (mixed - 1)))


def _p_value(errors: float, players: int, alpha: float, sample: float) -> float:
    """The alpha whose interval ends at no change, for the rho of `alpha`. `errors` is the
    difference in standard errors."""
    mixed = players * rho(alpha, sample) ** 2 + 1
    return min(sqrt(mixed) * exp(-(errors**2) * (mixed - 1) / (2 * mixed)), 1.0)


def sample_ratio(players: Mapping[str, int], weights: Mapping[str, float]) -> float | None:
    """The p-value of the chi-square test that the players of the variants are as many as their
    weights say. Weights of any sum; players of a variant without one are impossible, p is 0.

    None if there is nothing to check: fewer than two variants with a weight, or fewer than 5
    players expected in one of them.
    """
    positive = {key: weight for key, weight in weights.items() if weight > 0}
    if len(positive) < 2:
        return None
    if any(count for key, count in players.items() if key not in positive):
        return 0.0
    total, whole = sum(players.values()), sum(positive.values())
    expected = {key: total * weight / whole for key, weight in positive.items()}
    if min(expected.values()) < LEAST_EXPECTED:
        return None
    squares = sum((players.get(key, 0) - mean) ** 2 / mean for key, mean in expected.items())
    return chi_square_tail(squares, len(positive) - 1)


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability of a chi-square value at least so high (Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.4.4 and 26.4.5)."""
    half = value / 2
    first = freedom % 2 / 2
    tail = erfc(sqrt(half)) if first else 0.0
    for step in range(freedom // 2):
        tail += exp(-half) * pow(half, first + step) / gamma(first + step + 1)
    return tail


def players_needed(
    mean: float,
    variance: float,
    effect: float,
    arms: int = 2,
    alpha: float = ALPHA,
    power: float = POWER,
    sample: float = TUNED_FOR,
) -> int:
    """How many players in all arms together, of equal size, until a lift of `effect` is found with
    probability `power` by the interval of `compare` with this `alpha`: with more than two arms, see
    alpha_of_each. `mean` and `variance` are those of the metric of one player without the change.
    One more look before that finds it more often still.

    ValueError for an effect, a mean or a variance of 0 or less than 0, which has no answer.
    """
    for name, value in (("effect", abs(effect)), ("mean", abs(mean)), ("variance", variance)):
        if value <= 0:
            raise ValueError(f"{name} must not be {value:g}: there is nothing to find")
    low, high = MIN_PLAYERS - 1, MOST_PLAYERS
    while high - low > 1:
        middle = (low + high) // 2
        error = _planned_error(mean, variance, effect, middle)
        if abs(effect) >= _errors_needed(middle, alpha, power, sample) * error:
            high = middle
        else:
            low = middle
    return arms * high


def effect_visible(
    mean: float,
    variance: float,
    players: float,
    alpha: float = ALPHA,
    power: float = POWER,
    sample: float = TUNED_FOR,
) -> float:
    """The smallest rise, as a lift, that is found with probability `power` with so many players in
    each arm. Infinite if none is, and with fewer than 100 players or without a mean or variance."""
    if players < MIN_PLAYERS or not mean or variance <= 0:
        return inf
    wide = _errors_needed(players, alpha, power, sample)
    # effect^2 = part (1 + (1 + effect)^2), from _planned_error.
    part = wide**2 * variance / (mean**2 * players)
    if part >= 1:
        return inf
    return (part + sqrt(part**2 + 2 * part * (1 - part))) / (1 - part)


def _errors_needed(players: float, alpha: float, power: float, sample: float) -> float:
    """How many standard errors an effect must be, to be found with so many players in each arm."""
    wide = sqrt(2 * players) * half_width(2 * players, alpha, sample)
    return wide + NormalDist().inv_cdf(power)


def _planned_error(mean: float, variance: float, effect: float, players: float) -> float:
    """The standard error of a lift, if the change makes each value larger by that part."""
    return sqrt(variance * (1 + (1 + effect) ** 2) / (mean**2 * players))
