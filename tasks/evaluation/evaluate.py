"""Figures of one model from its stored predictions: over all rows, per slice, per class, and against the reference."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tasks.evaluation.metrics import metrics_of
from tasks.evaluation.predictions import Classes, Sets, check_outputs, checked
from tasks.evaluation.rows import Arrays, count, named, single, take
from tasks.evaluation.task import AnyTask, Classification, Custom, Multilabel
from tasks.foundations.entrypoints import RAISED, place_of
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
UserMetric = Callable[[Any, Any], float]


def evaluate(
    task: AnyTask, outputs: Arrays, labels: Arrays, functions: Mapping[str, UserMetric] | None = None
) -> dict[str, float]:
    """All metrics of the task that are defined on these rows, and the user's own.

    Args:
        task: how to read the outputs.
        outputs: (n, classes), (n, 1) or (n,); for multilabel (n, labels); for regression (n, k) or (n,); for a custom
            task (n, ...), or output name -> (n, ...).
        labels: (n,) class numbers or (n, classes) one-hot; for multilabel and regression as the outputs; for a custom
            task (n, ...), or output name -> (n, ...).
        functions: the user's metrics, name -> f(labels, outputs) -> float, both as given here.

    Returns:
        Metric name -> value. A metric that these rows do not define (ROC AUC of one class) is left out.

    Raises:
        StepFailed: outputs that cannot be judged.
        InputError: labels that do not fit the model, or a user's metric that fails.
    """
    if isinstance(task, Custom):
        _check_any(outputs, count(labels))
        figures = {}
    else:
        figures = _built_in(task, single(outputs), single(labels))
    return figures | {
        name: call_metric(name, function, labels, outputs) for name, function in (functions or {}).items()
    }


def _built_in(task: AnyTask, outputs: Array, labels: Array) -> dict[str, float]:
    predictions = checked(task, outputs, labels)
    classes = predictions.scores.shape[1] if isinstance(predictions, Classes) else None
    values = {
        name: float(metric.value(np.asarray(metric.rows(predictions).sum(axis=0))))
        for name, metric in metrics_of(task, classes).items()
    }
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _check_any(outputs: Arrays, rows: int) -> None:
    """Numbers must be finite; what else a custom task puts out, only its own metrics know."""
    for output in named(outputs).values():
        check_outputs(output if output.dtype.kind in "fiub" else np.zeros(output.shape[:1]), rows)


def call_metric(name: str, function: UserMetric, labels: Arrays, outputs: Arrays) -> float:
    """Call a user's metric; whatever it raises becomes one sentence.

    Raises:
        InputError: it raised, or did not return a finite number.
    """
    try:
        answer: Any = function(labels, outputs)
    except RAISED as error:
        code = getattr(function, "__code__", None)
        place = place_of(error, Path(code.co_filename).parent) if code else ""
        raise InputError(
            f"{name} raised {type(error).__name__}: {error}{place}. It is called as f(labels, outputs) -> float."
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
    task: AnyTask,
    outputs: Arrays,
    labels: Arrays,
    slices: Mapping[str, Array],
    functions: Mapping[str, UserMetric] | None = None,
) -> dict[str, dict[str, float]]:
    """Slice -> {metric: value, `n`: rows}, for every slice (name -> row numbers); other arguments as `evaluate`.

    A metric of the user's own that a slice does not define is left out there: it may have a single class, or one row.
    """
    return {
        name: _in_slice(task, take(outputs, rows), take(labels, rows), functions or {}) | {"n": float(rows.size)}
        for name, rows in slices.items()
    }


def _in_slice(task: AnyTask, outputs: Arrays, labels: Arrays, functions: Mapping[str, UserMetric]) -> dict[str, float]:
    figures = evaluate(task, outputs, labels)
    for name, function in functions.items():
        with suppress(InputError):
            figures[name] = call_metric(name, function, labels, outputs)
    return figures


def evaluate_classes(
    task: AnyTask, outputs: Arrays, labels: Arrays, names: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Figures of every class or label that occurs, by its name, else its number; none where a task has neither.

    Returns:
        Class -> {`recall`: share of its rows that are right, `n`: rows}; label of a multilabel task -> {`f1`, `recall`,
        `n`: rows where it holds}.
    """
    if isinstance(task, Classification | Multilabel):
        predictions = checked(task, single(outputs), single(labels))
        found = _per_label(predictions) if isinstance(predictions, Sets) else _per_class(predictions)
        return {names[each] if names else str(each): figures for each, figures in found.items()}
    return {}


def _per_label(predictions: Sets) -> dict[int, dict[str, float]]:
    predicted, labels = predictions.predicted(), predictions.labels
    right, chosen, held = ((each.sum(axis=0)) for each in (predicted & labels, predicted, labels))
    return {
        int(each): {
            "f1": float(2 * right[each] / (chosen[each] + held[each])),
            **({"recall": float(right[each] / held[each])} if held[each] else {}),
            "n": float(held[each]),
        }
        for each in np.flatnonzero(chosen + held)
    }


def _per_class(predictions: Any) -> dict[int, dict[str, float]]:
    rows = np.bincount(predictions.labels)
    right = np.bincount(predictions.labels[predictions.predicted() == predictions.labels], minlength=rows.size)
    return {
        int(each): {"recall": float(right[each] / rows[each]), "n": float(rows[each])} for each in np.flatnonzero(rows)
    }


def agreement(task: AnyTask, outputs: Arrays, reference: Arrays) -> dict[str, float]:
    """How far outputs are from the reference's, without any label.

    Args:
        task: how to read the outputs.
        outputs: (n, ...) of the model, or output name -> (n, ...) for a custom task.
        reference: (n, ...) of the reference on the same rows, same names and shapes.

    Returns:
        `agreement`: share of rows with the same likeliest class (of a multilabel task, the same labels); absent for
        other tasks. `max_abs_diff`: largest absolute difference of any value; `max_rel_diff`: that divided by the
        reference's largest absolute value, since ratios of single values near zero say nothing. Of several outputs the
        largest counts.

    Raises:
        StepFailed: not finite, or another shape than the reference.
    """
    ours, theirs = named(outputs), named(reference)
    missing = sorted(theirs.keys() - ours.keys())
    if missing:
        raise StepFailed(f"The model has no output {missing[0]!r}; it has {', '.join(ours)}.")
    each = [_difference(ours[name], theirs[name]) for name in theirs if theirs[name].dtype.kind in "fiub"]
    figures = {name: max(found[name] for found in each) for name in (each[0] if each else {})}
    if isinstance(task, Classification | Multilabel):
        return {"agreement": float(np.mean(same_answer(task, single(outputs), single(reference))))} | figures
    return figures


def differences(outputs: Mapping[str, Array], reference: Mapping[str, Array]) -> dict[str, float]:
    """`max_abs_diff of NAME` for every output of numbers that the reference has.

    Raises:
        StepFailed: one is missing, not finite, or of another shape than the reference's.
    """
    found = {}
    for name, wanted in reference.items():
        if wanted.dtype.kind in "fiub":
            if name not in outputs:
                raise StepFailed(f"The model has no output {name!r}; it has {', '.join(outputs)}.")
            found[f"max_abs_diff of {name}"] = _difference(outputs[name], wanted)["max_abs_diff"]
    return found


def _difference(outputs: Array, reference: Array) -> dict[str, float]:
    outputs, reference = np.asarray(outputs), np.asarray(reference)
    check_outputs(outputs, reference.shape[0])
    check_outputs(reference, reference.shape[0])
    if outputs.shape != reference.shape:
        raise StepFailed(f"The model puts out {outputs.shape} where the reference puts out {reference.shape}.")
    difference = float(np.max(np.abs(outputs.astype(np.float64) - reference.astype(np.float64))))
    scale = float(np.max(np.abs(reference.astype(np.float64))))
    return {"max_abs_diff": difference, "max_rel_diff": difference / scale if scale > 0 else difference}


def same_answer(task: Classification | Multilabel, outputs: Array, reference: Array) -> Array:
    """(n,) bool: whether both models predict the same class, or exactly the same labels."""
    nothing = np.zeros(outputs.shape if isinstance(task, Multilabel) else outputs.shape[0], dtype=np.int64)
    ours, theirs = checked(task, outputs, nothing), checked(task, reference, nothing)
    assert isinstance(ours, Classes | Sets) and isinstance(theirs, Classes | Sets)  # noqa: S101 - of such a task
    equal = ours.predicted() == theirs.predicted()
    whole: Array = equal.all(axis=1) if equal.ndim == 2 else equal
    return whole
