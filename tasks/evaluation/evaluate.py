"""Figures of one model from its stored predictions: over all rows, per slice, per class, and against the reference."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tasks.evaluation.metrics import metrics_of
from tasks.evaluation.predictions import Classes, check_outputs, checked
from tasks.evaluation.task import Classification, Regression
from tasks.foundations.entrypoints import RAISED
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
UserMetric = Callable[[Array, Array], float]


def evaluate(
    task: Classification | Regression, outputs: Array, labels: Array, functions: Mapping[str, UserMetric] | None = None
) -> dict[str, float]:
    """All metrics of the task that are defined on these rows, and the user's own.

    Args:
        task: how to read the outputs.
        outputs: (n, classes), (n, 1) or (n,); for regression (n, k) or (n,).
        labels: (n,) class numbers or (n, classes) one-hot; for regression as the outputs.
        functions: the user's metrics, name -> f(labels, outputs) -> float, both as given here.

    Returns:
        Metric name -> value. A metric that these rows do not define (ROC AUC of one class) is left out.

    Raises:
        StepFailed: outputs that cannot be judged.
        InputError: labels that do not fit the model, or a user's metric that fails.
    """
    predictions = checked(task, outputs, labels)
    classes = predictions.scores.shape[1] if isinstance(predictions, Classes) else None
    values = {
        name: float(metric.value(np.asarray(metric.rows(predictions).sum(axis=0))))
        for name, metric in metrics_of(task, classes).items()
    }
    figures = {name: value for name, value in values.items() if np.isfinite(value)}
    return figures | {
        name: call_metric(name, function, labels, outputs) for name, function in (functions or {}).items()
    }


def call_metric(name: str, function: UserMetric, labels: Array, outputs: Array) -> float:
    """Call a user's metric; whatever it raises becomes one sentence.

    Raises:
        InputError: it raised, or did not return a finite number.
    """
    try:
        answer: Any = function(labels, outputs)
    except RAISED as error:
        raise InputError(
            f"{name} raised {type(error).__name__}: {error}. It is called as f(labels, outputs) -> float."
        ) from error
    try:
        value = float(answer)
    except (TypeError, ValueError, OverflowError) as error:  # the metric itself raised nothing
        shape = getattr(answer, "shape", ())
        what = f"an array of shape {shape}" if shape else f"{answer!r:.60}"
        raise InputError(f"{name} returned {what} where one number is expected, e.g. the mean over rows.") from error
    if not np.isfinite(value):
        raise InputError(f"{name} returned {value}; a metric must be a finite number.")
    return value


def evaluate_slices(
    task: Classification | Regression,
    outputs: Array,
    labels: Array,
    slices: Mapping[str, Array],
) -> dict[str, dict[str, float]]:
    """Slice -> {metric: value, `n`: rows}, for every slice (name -> row numbers); other arguments as `evaluate`."""
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    return {
        name: evaluate(task, outputs[rows], labels[rows]) | {"n": float(rows.size)} for name, rows in slices.items()
    }


def evaluate_classes(task: Classification, outputs: Array, labels: Array) -> dict[str, dict[str, float]]:
    """Class number -> {`recall`: share of its rows that are right, `n`: rows}, for the classes that occur."""
    predictions = checked(task, outputs, labels)
    assert isinstance(predictions, Classes)  # noqa: S101 - a classification task
    rows = np.bincount(predictions.labels)
    right = np.bincount(predictions.labels[predictions.predicted() == predictions.labels], minlength=rows.size)
    return {
        str(each): {"recall": float(right[each] / rows[each]), "n": float(rows[each])} for each in np.flatnonzero(rows)
    }


def agreement(task: Classification | Regression, outputs: Array, reference: Array) -> dict[str, float]:
    """How far outputs are from the reference's, without any label.

    Args:
        task: how to read the outputs.
        outputs: (n, ...) of the model.
        reference: (n, ...) of the reference on the same rows, same shape.

    Returns:
        `agreement`: share of rows with the same likeliest class (classification only); `max_abs_diff`: largest
        absolute difference of any value; `max_rel_diff`: that divided by the reference's largest absolute value, since
        ratios of single values near zero say nothing.

    Raises:
        StepFailed: not finite, or another shape than the reference.
    """
    outputs, reference = np.asarray(outputs), np.asarray(reference)
    check_outputs(outputs, reference.shape[0])
    check_outputs(reference, reference.shape[0])
    if outputs.shape != reference.shape:
        raise StepFailed(f"The model puts out {outputs.shape} where the reference puts out {reference.shape}.")
    difference = float(np.max(np.abs(outputs.astype(np.float64) - reference.astype(np.float64))))
    scale = float(np.max(np.abs(reference.astype(np.float64))))
    figures = {"max_abs_diff": difference, "max_rel_diff": difference / scale if scale > 0 else difference}
    if isinstance(task, Regression):
        return figures
    return {"agreement": float(np.mean(same_class(task, outputs, reference)))} | figures


def same_class(task: Classification, outputs: Array, reference: Array) -> Array:
    """(n,) bool: whether both models predict the same class."""
    nothing = np.zeros(outputs.shape[0], dtype=np.int64)
    ours, theirs = checked(task, outputs, nothing), checked(task, reference, nothing)
    assert isinstance(ours, Classes) and isinstance(theirs, Classes)  # noqa: S101 - a classification task
    equal: Array = ours.predicted() == theirs.predicted()
    return equal
