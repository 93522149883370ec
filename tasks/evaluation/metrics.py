"""Every built-in quality metric as a function of sums over rows, so that value and bootstrap cannot disagree.

A metric gives each row k numbers (`rows`) and turns their sums into a value (`value`). The value of a data set is
`value(rows.sum(0))`, that of a resample `value(weights @ rows)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tasks.evaluation.predictions import Classes, Numbers, Sets
from tasks.evaluation.task import AnyTask, Classification, Custom, Multilabel

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Metric:
    """One quality metric.

    Attributes:
        name: word in the YAML, `accuracy`.
        higher_is_better: its direction.
        rows: checked predictions -> (n, k) additive statistics, dense or scipy sparse.
        value: sums (..., k) -> metric (...); NaN where it is undefined.
        zero_one: every row is right or wrong, and the metric is the share of right ones; `rows` is then (n, 2) of
            right and 1, and the paired bound is Tango's.
        decisions: sees only the predicted class, so that its error cannot be smaller than a proportion's.
    """

    name: str
    higher_is_better: bool
    rows: Callable[[Any], Any]
    value: Callable[[Array], Array]
    zero_one: bool = False
    decisions: bool = False


def metrics_of(task: AnyTask, classes: int | None = None) -> dict[str, Metric]:
    """The built-in metrics of a task by name; a custom task has none.

    Args:
        task: the task.
        classes: number of classes if known: `top_k_accuracy` is left out where it is not above k.
    """
    if isinstance(task, Custom):
        return {}
    if not isinstance(task, Classification):
        return {metric.name: metric for metric in (MULTILABEL if isinstance(task, Multilabel) else REGRESSION)}
    found = {metric.name: metric for metric in CLASSIFICATION}
    if classes is None or classes > task.top_k:
        top = Metric(
            f"top_{task.top_k}_accuracy", True, partial(_within_top, task.top_k), _mean, zero_one=True, decisions=True
        )
        found[top.name] = top
    return found


def _divide(numerator: Any, denominator: Any) -> Array:
    """NaN instead of a warning where a metric is undefined."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient: Array = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
    return quotient


def _with_count(values: Array) -> Array:
    return np.stack([values.astype(np.float64), np.ones(values.shape[0])], axis=1)


def _mean(sums: Array) -> Array:
    return _divide(sums[..., 0], sums[..., 1])


def _root_mean(sums: Array) -> Array:
    return np.sqrt(_mean(sums))


def _correct(predictions: Classes) -> Array:
    return _with_count(predictions.predicted() == predictions.labels)


def _within_top(k: int, predictions: Classes) -> Array:
    """Fewer than k classes score above the true one; ties go to the lower class number, as in argmax."""
    scores, labels = predictions.scores, predictions.labels[:, None]
    own = np.take_along_axis(scores, labels, axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels))
    return _with_count(before.sum(axis=1) < k)


def _negative_log_likelihood(predictions: Classes) -> Array:
    likelihood = np.take_along_axis(predictions.log_probabilities(), predictions.labels[:, None], axis=1)
    return _with_count(-likelihood[:, 0])


def _hits(predictions: Classes) -> Any:
    """Sparse (n, 3 classes): one-hot of the right class where predicted, of the prediction, of the label."""
    from scipy import sparse

    n, classes = predictions.scores.shape
    predicted, labels = predictions.predicted(), predictions.labels
    right = np.flatnonzero(predicted == labels)
    every = np.arange(n)
    row = np.concatenate([right, every, every])
    column = np.concatenate([labels[right], classes + predicted, 2 * classes + labels])
    return sparse.csr_array((np.ones(row.size), (row, column)), shape=(n, 3 * classes))


def _macro_f1(sums: Array) -> Array:
    """Mean of 2 tp / (predicted + labelled), as scikit-learn's, over classes that occur in labels or predictions.

    The same for the labels of a multilabel task.
    """
    right, predicted, labelled = np.split(np.asarray(sums), 3, axis=-1)
    occurs = predicted + labelled > 0
    f1 = np.where(occurs, 2 * right / np.where(occurs, predicted + labelled, 1), 0.0)
    return _divide(f1.sum(axis=-1), occurs.sum(axis=-1))


def _auc_influence(predictions: Classes) -> Array:
    """Row i: the area plus the influence of row i on it, so that the mean of the rows is the area itself.

    One against the rest, macro mean over the classes with both positive and negative rows (for two classes: class 1
    alone). The area of a class is the mean placement of its positives among its negatives, ties counting half; a
    row's influence is (placement - area) n / n_of_its_side. Resampling these rows is a bootstrap of the linearised
    area, whose variance is that of DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837-845.
    """
    probabilities = np.exp(predictions.log_probabilities())
    classes = probabilities.shape[1]
    parts = [
        _placements(probabilities[:, each], predictions.labels == each)
        for each in ([1] if classes == 2 else range(classes))
        if 0 < np.count_nonzero(predictions.labels == each) < predictions.labels.size
    ]
    if not parts:
        return np.full((predictions.labels.size, 2), np.nan)
    return _with_count(np.mean(parts, axis=0))


def _placements(scores: Array, positive: Array) -> Array:
    """(n,) area of one class plus each row's influence on it."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    placement = np.empty(scores.size)
    placement[positive] = _share_below(below, scores[positive])
    placement[~positive] = 1 - _share_below(above, scores[~positive])
    area = placement[positive].mean()
    side = np.where(positive, above.size, below.size)
    result: Array = area + (placement - area) * scores.size / side
    return result


def _share_below(ordered: Array, values: Array) -> Array:
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (left + right) / 2 / ordered.size


def _whole_sets(predictions: Sets) -> Array:
    return _with_count((predictions.predicted() == predictions.labels).all(axis=1))


def _share_of_labels(predictions: Sets) -> Array:
    return _with_count((predictions.predicted() == predictions.labels).mean(axis=1))


def _set_hits(predictions: Sets) -> Any:
    """Sparse (n, 3 labels), as `_hits`: whether each label is right where predicted, is predicted, holds."""
    from scipy import sparse

    predicted, labels = predictions.predicted(), predictions.labels
    parts = [sparse.csr_array(each.astype(np.float64)) for each in (predicted & labels, predicted, labels)]
    return sparse.hstack(parts, format="csr")


def _micro_f1(sums: Array) -> Array:
    """2 tp / (predicted + labelled), over all labels at once."""
    right, predicted, labelled = np.split(np.asarray(sums), 3, axis=-1)
    return _divide(2 * right.sum(axis=-1), (predicted + labelled).sum(axis=-1))


def _set_auc_influence(predictions: Sets) -> Array:
    """As `_auc_influence`, macro mean over the labels that hold for some rows and not for others."""
    held = predictions.labels.sum(axis=0)
    told = np.flatnonzero((held > 0) & (held < len(predictions.labels)))
    if not told.size:
        return np.full((len(predictions.labels), 2), np.nan)
    total = np.zeros(len(predictions.labels))
    for each in told:
        total += _placements(predictions.scores[:, each], predictions.labels[:, each])
    return _with_count(total / told.size)


def _set_losses(predictions: Sets) -> Array:
    return _with_count(predictions.losses().mean(axis=1))


def _absolute_errors(predictions: Numbers) -> Array:
    return _with_count(np.abs(predictions.outputs - predictions.labels).mean(axis=1))


def _squared_errors(predictions: Numbers) -> Array:
    return _with_count(((predictions.outputs - predictions.labels) ** 2).mean(axis=1))


def _variances(predictions: Numbers) -> Array:
    """Per output column: squared error, label and squared label (about the mean, against cancellation), count."""
    centred = predictions.labels - predictions.labels.mean(axis=0)
    error = (predictions.outputs - predictions.labels) ** 2
    return np.concatenate([error, centred, centred**2, np.ones_like(error)], axis=1)


def _r2(sums: Array) -> Array:
    """1 - squared error / variance of the labels, mean over output columns; NaN where labels are constant."""
    error, label, square, count = np.split(np.asarray(sums), 4, axis=-1)
    variance = square - label**2 / np.maximum(count, 1)
    # Constant labels leave rounding, not variance.
    variance = np.where(variance > 1e-12 * np.maximum(square, np.finfo(np.float64).tiny), variance, 0.0)
    result: Array = np.mean(1 - _divide(error, variance), axis=-1)
    return result


CLASSIFICATION = (
    Metric("accuracy", True, _correct, _mean, zero_one=True, decisions=True),
    Metric("macro_f1", True, _hits, _macro_f1, decisions=True),
    Metric("roc_auc", True, _auc_influence, _mean),
    Metric("log_loss", False, _negative_log_likelihood, _mean),
)
MULTILABEL = (
    Metric("exact_match", True, _whole_sets, _mean, zero_one=True, decisions=True),
    Metric("hamming_accuracy", True, _share_of_labels, _mean, decisions=True),
    Metric("macro_f1", True, _set_hits, _macro_f1, decisions=True),
    Metric("micro_f1", True, _set_hits, _micro_f1, decisions=True),
    Metric("roc_auc", True, _set_auc_influence, _mean),
    Metric("log_loss", False, _set_losses, _mean),
)
REGRESSION = (
    Metric("mae", False, _absolute_errors, _mean),
    Metric("rmse", False, _squared_errors, _root_mean),
    Metric("r2", True, _variances, _r2),
)
