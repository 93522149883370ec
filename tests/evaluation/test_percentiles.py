import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from tasks.evaluation.percentiles import median_interval, over_limit_allowed, percentile_interval


@pytest.mark.parametrize(
    ("percentile", "confidence", "queries"),
    [
        (0.9, 0.99, [44, 64, 81]),
        (0.95, 0.99, [90, 130, 165]),
        (0.99, 0.99, [459, 662, 838]),
        (0.999, 0.99, [4603, 6636, 8403]),
        (0.9, 0.95, [29, 46, 61]),
        (0.99, 0.95, [299, 473, 628]),
    ],
)
def test_mlperfs_queries_are_exactly_enough(percentile, confidence, queries):
    for over, n in enumerate(queries):
        assert over_limit_allowed(n, percentile, confidence) == over
        before = over_limit_allowed(n - 1, percentile, confidence)
        assert before == (over - 1 if over else None)


@given(st.integers(1, 3000), st.sampled_from([0.01, 0.5, 0.9, 0.99]), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_number_allowed_is_the_largest_that_keeps_the_confidence(n, percentile, confidence):
    allowed = over_limit_allowed(n, percentile, confidence)
    following = 0 if allowed is None else allowed + 1
    assert allowed is None or binom.cdf(allowed, n, 1 - percentile) <= 1 - confidence + 1e-9
    assert binom.cdf(following, n, 1 - percentile) > 1 - confidence - 1e-9


def test_a_limit_passes_the_early_stopping_rule_exactly_from_the_upper_bound_on():
    times = np.random.default_rng(0).permutation(np.arange(1.0, 663.0))
    low, high = percentile_interval(times, 0.99, 0.99)
    assert high == 661.0  # one of 662 may be over
    assert low is not None and low < np.quantile(times, 0.99) < high
    assert percentile_interval(times[:400], 0.99, 0.99)[1] is None


def test_the_interval_of_few_rounds_cuts_none_of_five_one_of_ten_and_three_of_fifteen():
    assert median_interval(np.arange(5.0)) == (0, 4)
    assert median_interval(np.arange(10.0)) == (1, 8)
    assert median_interval(np.arange(15.0)) == (3, 11)
    assert median_interval(np.arange(4.0)) == (None, None)
    assert median_interval(np.array([])) == (None, None)


@pytest.mark.parametrize("percentile", [0.5, 0.9])
def test_the_interval_of_a_percentile_covers_as_often_as_it_says(percentile):
    rng = np.random.default_rng(1)
    draws = rng.lognormal(size=(2000, 200))
    truth = float(np.exp(norm.ppf(percentile)))
    bounds = [percentile_interval(row, percentile) for row in draws]
    assert np.mean([low <= truth for low, _ in bounds]) >= 0.94
    assert np.mean([high >= truth for _, high in bounds]) >= 0.94
