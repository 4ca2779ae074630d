"""Confidence intervals of numbers that are estimated from a random sample. Imports no Django."""

from math import ceil, floor, sqrt

Z = 1.96  # 95 % confidence
# The smallest mean of a Poisson distribution for which finding so many is not surprising, by the
# number found: P(X >= found) = 5 %.
RARE = {1: 0.0513, 2: 0.3554, 3: 0.8177}


def interval(found: int, sampled: int, total: int) -> tuple[int, int]:
    """The 95 % confidence interval of how many there are among `total`, if `sampled` of them,
    drawn at random without replacement, hold `found`.

    The score interval of Wilson (JASA 22, 1927, pages 209-212), for a finite population: the
    variance shrinks by (total - sampled) / (total - 1) (Cochran, Sampling Techniques, 1977,
    section 3.5). Where few are found, or few are not, Wilson's interval misses too often; its near
    end is then that of Brown, Cai and DasGupta (Statistical Science 16, 2001, section 4.1.1).
    """
    if sampled >= total:
        return found, found
    if not sampled:
        return 0, total
    part = found / sampled
    # As many draws with replacement would tell as much.
    draws = sampled * (total - 1) / (total - sampled)
    middle = part + Z * Z / (2 * draws)
    half = Z * sqrt(part * (1 - part) / draws + Z * Z / (4 * draws * draws))
    whole = 1 + Z * Z / draws
    low, high = (middle - half) / whole, (middle + half) / whole
    low = min(low, RARE.get(found, sampled) / sampled)
    high = max(high, 1 - RARE.get(sampled - found, sampled) / sampled)
    # Those that were drawn are known.
    return (
        max(floor(low * total), found),
        min(ceil(high * total), total - (sampled - found)),
    )


def estimate(found: int, sampled: int, total: int) -> tuple[int, int, int]:
    """How many there are among `total`, and the ends of the interval, in round numbers: to two
    digits of the interval's width. The ends are rounded outwards, so that it holds as often."""
    low, high = interval(found, sampled, total)
    unit = 10 ** max(len(str(high - low)) - 2, 0)
    about = round(found / sampled * total / unit) * unit if sampled else 0
    low, high = low // unit * unit, min(-(-high // unit) * unit, total)
    return min(max(about, low), high), low, high
