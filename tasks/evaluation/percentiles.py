"""Percentiles of measured times with bounds that hold for any distribution: latencies are never normal.

Only counts and ranks are used, so one enormous outlier moves nothing. All bounds treat observations as independent;
calls of one process are not quite that, which is why ratios take their intervals over rounds (`latency`) and only
absolute limits use pooled calls.
"""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Bounds = tuple[float | None, float | None]


def over_limit_allowed(n: int, percentile: float, confidence: float = 0.95) -> int | None:
    """How many of n calls may exceed a limit while the limit still bounds the percentile.

    The largest t with P(Binomial(n, 1 - percentile) <= t) <= 1 - confidence.

    Source: MLPerf Inference, early stopping (LoadGen results.cc). Its queries needed at 99 % confidence for p99:
    459 with none over, 662 with one, 838 with two; for p90: 44 and 64.

    Args:
        n: calls.
        percentile: in (0, 1), e.g. 0.99.
        confidence: one-sided.

    Returns:
        t, or None where n is too small even with none over the limit.
    """
    from scipy.special import bdtr, bdtrik  # scipy.stats has both, and takes 0.7 s longer to import

    alpha = 1 - confidence
    crossing = float(bdtrik(alpha, n, 1 - percentile))  # NaN where not even 0 is below alpha
    t = 0 if math.isnan(crossing) else min(n, math.ceil(crossing) + 1)
    while t >= 0 and bdtr(t, n, 1 - percentile) > alpha * (1 + 1e-12):
        t -= 1
    return None if t < 0 else t


def percentile_interval(values: Array, percentile: float, confidence: float = 0.95) -> Bounds:
    """Order-statistic interval of a percentile, each end one-sided at `confidence`.

    The upper end is the (t + 1)-th largest value, t from `over_limit_allowed`: a limit passes the early-stopping rule
    exactly when it is not below that value. The lower end mirrors it.

    Args:
        values: (n,) observations in any order.
        percentile: in (0, 1).
        confidence: one-sided, of each end.

    Returns:
        (low, high); an end is None where n is too small to say.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    n = ordered.size
    if n == 0:
        return None, None
    over = over_limit_allowed(n, percentile, confidence)
    under = over_limit_allowed(n, 1 - percentile, confidence)
    low = None if under is None else float(ordered[under])
    high = None if over is None else float(ordered[n - 1 - over])
    return low, high


def median_interval(values: Array, confidence: float = 0.95) -> Bounds:
    """Interval of a median over few rounds, by ranks (the sign test): five rounds give (min, max) at 96.9 % a side.

    A t interval would be narrower and would lie: one process in twenty settles 1.4 times slower for its whole life, so
    rounds are not normal. The ranks cut off are 0 of 5, 1 of 10 and 3 of 15 at 95 %.
    """
    return percentile_interval(values, 0.5, confidence)
