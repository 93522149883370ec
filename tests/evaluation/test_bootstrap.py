import numpy as np
import pytest
from scipy import sparse
from scipy.stats import gamma

from tasks.evaluation.bootstrap import CHANGED, bca_interval, function_interval
from tasks.evaluation.metrics import metrics_of
from tasks.evaluation.predictions import checked
from tasks.evaluation.task import Classification
from tasks.foundations.errors import StepFailed


def _mean(sums):
    return sums[..., 0] / sums[..., 1]


def _rows(values):
    return np.stack([values, np.ones_like(values)], axis=1)


def test_it_agrees_with_scipys_bca():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).lognormal(size=40)  # so skewed that the plain percentile end is 3.4, not 4.2
    low, high = bca_interval(_rows(values), _mean, 0.95)
    theirs = bootstrap((values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="BCa", rng=1)
    assert low == pytest.approx(theirs.confidence_interval.low, rel=0.03)
    assert high == pytest.approx(theirs.confidence_interval.high, rel=0.03)


def test_the_same_seed_gives_the_same_interval():
    rows = _rows(np.random.default_rng(0).normal(size=300))
    assert bca_interval(rows, _mean, seed=1) == bca_interval(rows, _mean, seed=1)
    assert bca_interval(rows, _mean, seed=1) != bca_interval(rows, _mean, seed=2)


def test_grouping_many_rows_keeps_the_width():
    values = np.random.default_rng(0).normal(size=100_000)
    low, high = bca_interval(_rows(values), _mean)
    assert high - low == pytest.approx(2 * 1.645 / np.sqrt(100_000), rel=0.1)


def test_sparse_rows_give_the_interval_of_dense_ones():
    rows = _rows(np.random.default_rng(0).normal(size=5000))
    assert bca_interval(sparse.csr_array(rows), _mean) == pytest.approx(bca_interval(rows, _mean))


def test_few_rows_say_nothing():
    assert bca_interval(_rows(np.arange(29.0)), _mean) is None
    assert function_interval(lambda rows: 1.0, 29) is None


def test_both_bounds_cover_as_often_as_they_say():
    rng = np.random.default_rng(5)
    bounds = [bca_interval(_rows(rng.exponential(size=100)), _mean, seed=i) for i in range(150)]
    assert np.mean([low <= 1 for low, _ in bounds]) >= 0.89  # 0.95 - 3 standard errors
    assert np.mean([high >= 1 for _, high in bounds]) >= 0.89


@pytest.mark.parametrize("differ", [0, 1, 2, 5, 20])
def test_with_unseen_rows_the_bound_of_a_rare_count_is_the_exact_one(differ):
    n = 3000
    rows = _rows((np.arange(n) < differ).astype(float))
    one = np.array(CHANGED) / n
    low, high = bca_interval(rows, _mean, unseen=(np.zeros_like(one), one))
    exact = gamma.ppf(0.95, differ + 1) / n  # Garwood (1936)
    assert high == pytest.approx(exact, rel=0.06)
    assert low <= differ / n
    of_a_function = function_interval(
        lambda picks: float(rows[picks, 0].mean()), n, unseen=lambda _: (np.zeros_like(one), one)
    )
    assert of_a_function[1] == pytest.approx(exact, rel=0.06)


def test_unseen_rows_of_no_more_weight_than_the_others_are_lost_among_many():
    rows = _rows(np.random.default_rng(0).normal(size=3000))
    one = np.array(CHANGED) / 3000
    plain, widened = bca_interval(rows, _mean), bca_interval(rows, _mean, unseen=(one, one))
    assert widened[1] - widened[0] < 1.05 * (plain[1] - plain[0])
    assert widened[0] <= plain[0] and widened[1] >= plain[1]


def test_a_statistic_that_unseen_rows_leave_undefined_has_no_finite_end():
    undefined = np.array([0.0, *[np.inf] * (len(CHANGED) - 1)])
    ends = bca_interval(_rows(np.zeros(50)), _mean, unseen=(np.zeros(len(CHANGED)), undefined))
    assert not np.isfinite(ends[1])


def test_a_function_of_many_rows_is_resampled_from_fewer_at_the_right_width():
    values = np.random.default_rng(0).normal(size=40_000)
    low, high = function_interval(lambda rows: float(values[rows].mean()), 40_000)
    assert high - low == pytest.approx(2 * 1.645 / np.sqrt(40_000), rel=0.15)


def test_a_function_that_is_not_finite_on_a_resample_is_refused():
    calls = iter(range(10_000))
    with pytest.raises(StepFailed, match="not finite on a resample"):
        function_interval(lambda rows: float("nan") if next(calls) == 7 else 1.0, 100)


def test_the_linearised_area_has_the_error_of_a_real_bootstrap():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    labels = rng.integers(2, size=400)
    scores = rng.normal(size=400) + labels
    metric = metrics_of(Classification(kind="classification", output="logits"))["roc_auc"]
    rows = metric.rows(checked(Classification(kind="classification", output="logits"), scores, labels))
    low, high = bca_interval(rows, metric.value)
    picks = rng.integers(400, size=(1500, 400))
    areas = [roc_auc_score(labels[each], scores[each]) for each in picks]
    assert high - low == pytest.approx(np.quantile(areas, 0.95) - np.quantile(areas, 0.05), rel=0.1)
