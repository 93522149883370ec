"""How sure a proportion is: a gate on a point estimate passes bad models, so every 0/1 metric gets a bound.

A candidate and its partner answer the same rows, so only the rows where exactly one of them is right carry
information. `b` counts rows where only the partner is right, `c` rows where only the candidate is, `n` all rows;
the drop is (b - c) / n.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BISECTIONS = 60  # 2 / 2**60 is below the spacing of float64 near 1


def tango(b: Any, c: Any, n: Any, confidence: float = 0.95) -> tuple[Array, Array]:
    """Tango's score interval for the difference (b - c) / n of two paired proportions.

    The interval holds every difference d that the score test does not reject:
        z(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d))),
    where q is the maximum-likelihood estimate of P(only the candidate is right) under difference d, the larger root of
        2n q^2 - (b + c - (2n - b + c) d) q - c d (1 - d) = 0.
    z falls as d grows, so the ends are found by bisection. Unlike Wald's interval it keeps its level with few
    discordant rows; with b = c = 0 it is exactly [-z^2 / (n + z^2), z^2 / (n + z^2)], not a point.

    Source: Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17, 891-908.

    Args:
        b: rows where only the partner is right; a number or an array.
        c: rows where only the candidate is right; same shape.
        n: all rows; same shape or a number.
        confidence: one-sided, of each end; 0.95 gives the ends of the two-sided 90 % interval.

    Returns:
        (low, high), arrays of the broadcast shape; (-1, 1) where n is 0.
    """
    b, c, n = (np.asarray(value, dtype=np.float64) for value in np.broadcast_arrays(b, c, n))
    z = NormalDist().inv_cdf(confidence)
    low = _solve(b, c, n, z)
    high = _solve(b, c, n, -z)
    return np.where(n > 0, low, -1.0), np.where(n > 0, high, 1.0)


def _solve(b: Array, c: Array, n: Array, target: float) -> Array:
    """The difference at which the falling score statistic equals `target`."""
    low, high = np.full(b.shape, -1.0), np.full(b.shape, 1.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = _score(b, c, n, middle) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    solution: Array = (low + high) / 2
    return solution


def _score(b: Array, c: Array, n: Array, d: Array) -> Array:
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1 - d)
    # A tiny negative discriminant is rounding: it is a sum of squares in exact arithmetic.
    root = np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = (root - linear) / (4 * n)
        variance = n * np.maximum(2 * q + d * (1 - d), 0.0)
        score = (b - c - n * d) / np.sqrt(variance)
    return np.where(np.isnan(score), 0.0, score)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion; never covers less than `confidence` on either side.

    Source: Clopper and Pearson (1934), Biometrika 26, 404-413, as quantiles of the beta distribution.

    Args:
        successes: rows that are right.
        n: all rows.
        confidence: one-sided, of each end.

    Returns:
        (low, high); (0, 1) where n is 0.
    """
    from scipy.special import betaincinv  # the quantile of scipy.stats.beta, which takes 0.7 s longer to import

    alpha = 1 - confidence
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha))
    return low, high


def rows_needed(discordance: float, margin: float, confidence: float = 0.95, power: float = 0.8) -> int:
    """Rows needed to show that nothing more than `margin` is lost, when truly nothing is.

    n = (z_confidence + z_power)^2 discordance / margin^2, the usual sample size of a paired non-inferiority test, and
    at least z^2 (1 - margin) / margin, below which even a model without one differing row cannot pass `tango`.

    Args:
        discordance: share of rows where exactly one of the two models is right.
        margin: allowed drop, above 0.
        confidence: one-sided.
        power: wanted probability of passing.

    Returns:
        Number of rows, rounded up.
    """
    z = NormalDist().inv_cdf(confidence)
    wanted = (z + NormalDist().inv_cdf(power)) ** 2 * discordance / margin**2
    floor = z**2 * (1 - margin) / margin
    return math.ceil(max(wanted, floor))
