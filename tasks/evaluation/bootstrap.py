"""Intervals for metrics that are no plain proportions, by resampling rows, fast enough for 100,000 of them.

Every built-in metric is a smooth function of sums over rows (`Metric.rows`, `Metric.value`), so a resample is one row
of a matrix product instead of a new evaluation. Pairing comes for free: candidate and partner stand side by side in
the same row.

A resample only holds rows that were seen. With no differing row every resample agrees, yet three in n may differ, so
both intervals can be widened by what rows that were not seen would do (`Unseen`).
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed

Array = np.ndarray[Any, Any]
RESAMPLES = 2_000
GROUPS = 4_096
CHUNK = 250
MIN_ROWS = 30
FUNCTION_RESAMPLES = 1_000
FUNCTION_ROWS = 5_000
CHANGED = (0, 1, 2, 3, 5, 8)
Unseen = tuple[Array, Array]  # largest fall and largest rise of the statistic when CHANGED[i] more rows change


def bca_interval(
    rows: Any,
    value: Callable[[Array], Array],
    confidence: float = 0.95,
    seed: int = 0,
    unseen: Unseen | None = None,
) -> tuple[float, float] | None:
    """BCa bootstrap interval of a function of sums over rows: bias-corrected and accelerated, 2,000 resamples.

    Above 4,096 rows, rows are dealt at random into 4,096 groups (fewer where a row has very many sums) and groups are
    resampled; the variance of a sum is the same in expectation. The acceleration comes from the delete-one-group
    jackknife.

    Source: Efron (1987), Better bootstrap confidence intervals, JASA 82, 171-185.

    Args:
        rows: (n, k) additive statistics of each row, dense or scipy sparse.
        value: sums (..., k) -> statistic (...).
        confidence: one-sided, of each end.
        seed: of the resampling.
        unseen: how far rows that were not seen could move the statistic; None: not at all.

    Returns:
        (low, high), or None with fewer than 30 rows or where most resamples leave the statistic undefined.
    """
    if rows.shape[0] < MIN_ROWS:
        return None
    rng = np.random.default_rng(seed)
    groups = _group_sums(rows, rng)
    draws = _draws(groups, value, rng)
    total = groups.sum(axis=0)
    without_one = value(total - groups)
    ends = _bca(draws, float(value(total)), without_one, confidence)
    return None if ends is None else _widened(ends, draws[np.isfinite(draws)], unseen, confidence, rng)


def _widened(
    ends: tuple[float, float], draws: Array, unseen: Unseen | None, confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """The interval, at least as wide as with one more row of the worst kind in the sample.

    If d like rows differ, the exact upper limit of their expected number is a quantile of a sum of d + 1 unit
    exponentials (Garwood 1936, Biometrika 28, 437-442); for rows of unlike weight Fay and Feuer (1997, Statistics in
    Medicine 16, 791-801) add one row of the largest weight to those that were seen. The draws stand for the rows that
    were seen, an exponential number of worst changes for the one added: 3 changes at 95 % where no row differs, lost
    in the spread of the draws where many do.
    """
    if unseen is None:
        return ends
    more = -np.log((rng.permutation(draws.size) + 0.5) / draws.size)  # stratified, so that 3 is 3 for every seed
    fall, rise = (np.interp(more, CHANGED, each) for each in unseen)
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(draws - fall, 1 - confidence), np.quantile(draws + rise, confidence)
    # NaN where a change leaves the statistic undefined, and kept: min() would drop it.
    return float(np.minimum(ends[0], low)), float(np.maximum(ends[1], high))


def _group_sums(rows: Any, rng: np.random.Generator) -> Array:
    """(groups, k) sums of rows dealt at random; one row a group where there are few."""
    from scipy import sparse

    n, k = rows.shape
    groups = min(n, max(500, min(GROUPS, 2_000_000 // k)))
    if groups == n:
        return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)
    group_of_row = rng.permutation(n) % groups
    deal = sparse.csr_array((np.ones(n), (group_of_row, np.arange(n))), shape=(groups, n))
    sums = deal @ rows
    return np.asarray(sums.toarray() if sparse.issparse(sums) else sums, dtype=np.float64)


def _draws(groups: Array, value: Callable[[Array], Array], rng: np.random.Generator) -> Array:
    """The statistic of every resample of groups, (RESAMPLES,)."""
    count = groups.shape[0]
    results = []
    for _ in range(RESAMPLES // CHUNK):
        picks = rng.integers(count, size=(CHUNK, count)) + np.arange(CHUNK)[:, None] * count
        weights = np.bincount(picks.ravel(), minlength=CHUNK * count).reshape(CHUNK, count)
        results.append(value(weights @ groups))
    return np.concatenate(results)


def _bca(draws: Array, point: float, without_one: Array, confidence: float) -> tuple[float, float] | None:
    draws = draws[np.isfinite(draws)]
    if draws.size < RESAMPLES / 2 or not np.isfinite(point):
        return None
    below = (np.count_nonzero(draws < point) + np.count_nonzero(draws == point) / 2) / draws.size
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below, 1 / draws.size), 1 - 1 / draws.size))
    deviation = np.nanmean(without_one) - without_one[np.isfinite(without_one)]
    spread = float(np.sum(deviation**2))
    acceleration = float(np.sum(deviation**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for level in (1 - confidence, confidence):
        shifted = bias + normal.inv_cdf(level)
        corrected = bias + shifted / max(1 - acceleration * shifted, 1e-3)
        ends.append(float(np.quantile(draws, normal.cdf(corrected))))
    return min(ends[0], point), max(ends[1], point)


def function_interval(
    statistic: Callable[[Array], float],
    n: int,
    confidence: float = 0.95,
    seed: int = 0,
    unseen: Callable[[float], Unseen | None] | None = None,
    most: int = FUNCTION_ROWS,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a black-box function of row numbers: the user's own metric.

    1,000 resamples. Above 5,000 rows each resample draws m = 5,000 of the n rows (fewer where rows are large) and
    deviations shrink by sqrt(m / n) (m-out-of-n bootstrap, Bickel, Goetze and van Zwet 1997), so cost does not grow
    with the data.

    Args:
        statistic: row numbers (m,) -> value; called once with all rows in order.
        n: rows.
        confidence: one-sided, of each end.
        seed: of the resampling.
        unseen: share of the resamples that have the commonest value -> how far rows that were not seen could move the
            statistic; None: not at all.
        most: rows of a resample.

    Returns:
        (low, high), or None with fewer than 30 rows.

    Raises:
        StepFailed: the statistic is not finite on a resample.
    """
    if n < MIN_ROWS:
        return None
    rng = np.random.default_rng(seed)
    point = statistic(np.arange(n))
    size = min(n, most)
    draws = np.array([statistic(rng.integers(n, size=size)) for _ in range(FUNCTION_RESAMPLES)], dtype=np.float64)
    if not np.isfinite(draws).all():
        raise StepFailed(
            "The metric is not finite on a resample of the test rows, so nothing can be said about its error."
        )
    scaled = point + (draws - point) * np.sqrt(size / n)
    low, high = np.quantile(scaled, [1 - confidence, confidence])
    counts = np.unique(np.round(draws, 12), return_counts=True)[1]
    more = unseen(float(counts.max() / draws.size)) if unseen else None
    return _widened((min(float(low), point), max(float(high), point)), scaled, more, confidence, rng)
