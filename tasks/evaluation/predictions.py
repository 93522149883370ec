"""Raw outputs and labels, checked and brought to one shape, so that no metric repeats these rules.

Outputs that cannot be judged raise `StepFailed` (the candidate's fault: its gates fail), labels that cannot be used
raise `InputError` (the data's fault).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.evaluation.task import AnyTask, Classification, Multilabel, Regression
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)  # one for every dtype, so that models stay comparable
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Classes:
    """Checked predictions of a classifier.

    Attributes:
        scores: (n, classes), higher is likelier; a single binary column has become two.
        labels: (n,) int64 class numbers.
        logits: whether scores are logits; else probabilities.
    """

    scores: Array
    labels: Array
    logits: bool

    def predicted(self) -> Array:
        """(n,) the likeliest class, the first one on ties (so a probability of exactly 0.5 means class 0)."""
        best: Array = np.argmax(self.scores, axis=1)
        return best

    def log_probabilities(self) -> Array:
        """(n, classes) float64, finite: log-softmax by the shifted log-sum-exp, or log of clipped probabilities."""
        scores = self.scores.astype(np.float64)
        if self.logits:
            shifted = scores - scores.max(axis=1, keepdims=True)
            result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            return result
        clipped = np.clip(scores, SMALLEST_PROBABILITY, 1.0)
        # Quantized softmax outputs do not quite add up to 1.
        logarithms: Array = np.log(clipped / clipped.sum(axis=1, keepdims=True))
        return logarithms


@dataclass(frozen=True)
class Sets:
    """Checked predictions of a multilabel model.

    Attributes:
        scores: (n, labels), higher is likelier.
        labels: (n, labels) bool: which hold.
        logits: whether scores are logits; else probabilities.
        threshold: probability above which a label is predicted.
    """

    scores: Array
    labels: Array
    logits: bool
    threshold: float

    def predicted(self) -> Array:
        """(n, labels) bool: which are predicted."""
        chosen: Array = self.scores > self.cut
        return chosen

    @property
    def cut(self) -> float:
        """The threshold in the unit of the scores."""
        return float(np.log(self.threshold / (1 - self.threshold))) if self.logits else self.threshold

    def losses(self) -> Array:
        """(n, labels) float64, finite: binary cross-entropy of each label, of clipped probabilities."""
        scores = self.scores.astype(np.float64)
        if self.logits:
            wrong: Array = np.logaddexp(0.0, np.where(self.labels, -scores, scores))
            return wrong
        likely = np.where(self.labels, scores, 1 - scores)
        surprise: Array = -np.log(np.clip(likely, SMALLEST_PROBABILITY, 1.0))
        return surprise


@dataclass(frozen=True)
class Numbers:
    """Checked predictions of a regression: (n, k) float64 each."""

    outputs: Array
    labels: Array


def checked(task: AnyTask, outputs: Array, labels: Array) -> Classes | Sets | Numbers:
    """Check outputs against labels and bring both to one shape.

    Args:
        task: how to read the outputs.
        outputs: (n, classes), (n, 1) or (n,) floats; for multilabel (n, labels); for regression (n, k) or (n,).
        labels: (n,) or (n, 1) class numbers or (n, classes) one-hot; for multilabel (n, labels) of 0 and 1; for
            regression as the outputs.

    Raises:
        StepFailed: NaN or infinity in the outputs, another number of rows than labels, values that are no
            probabilities although the config says so, or a custom task, whose outputs only its own metrics can read.
        InputError: labels that are no class numbers of this model, no sets of its labels, or NaN.
    """
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    check_outputs(outputs, labels.shape[0])
    if isinstance(task, Classification):
        return _classes(task, outputs, labels)
    if isinstance(task, Multilabel):
        return _sets(task, outputs, labels)
    if isinstance(task, Regression):
        return _numbers(outputs, labels)
    raise StepFailed("The outputs of a custom task are read by its own metrics only.")


def check_outputs(outputs: Array, rows: int) -> None:
    """Refuse outputs that nothing can be computed from.

    Raises:
        StepFailed: no rows, another number of rows than expected, not numbers, or not finite.
    """
    if outputs.ndim == 0 or outputs.shape[0] != rows:
        got = outputs.shape[0] if outputs.ndim else 0
        raise StepFailed(
            f"The model gave {got} rows of output for {rows} rows of labels; they must be the same rows in order."
        )
    if rows == 0:
        raise StepFailed("There are no rows to judge the model on.")
    if outputs.dtype.kind not in "fiub":
        raise StepFailed(f"The model's outputs have dtype {outputs.dtype}; a metric needs numbers.")
    bad = np.flatnonzero(~np.isfinite(outputs.reshape(rows, -1)).all(axis=1))
    if bad.size:
        raise StepFailed(f"The outputs hold NaN or infinity in {bad.size} of {rows} rows, first in row {bad[0]}.")


def _classes(task: Classification, outputs: Array, labels: Array) -> Classes:
    scores = outputs.reshape(-1, 1) if outputs.ndim == 1 else outputs
    if scores.ndim != 2:
        raise StepFailed(f"A classifier's output must be (rows, classes); this one is {outputs.shape}.")
    scores = _scores(task.output, scores)
    if scores.shape[1] == 1:
        other = np.zeros_like(scores) if task.output == "logits" else 1 - scores
        scores = np.concatenate([other, scores], axis=1)
    return Classes(scores, class_numbers(labels, scores.shape[1]), task.output == "logits")


def _scores(output: str, scores: Array) -> Array:
    """Floats of at least 32 bits, in the range that the config says."""
    if scores.dtype.kind != "f" or scores.dtype.itemsize < 4:
        scores = scores.astype(np.float32)
    if output == "probabilities" and (scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE):
        raise StepFailed(
            f"Outputs run from {scores.min():.4g} to {scores.max():.4g}, which are no probabilities. "
            "Set task.output to logits if the model ends without softmax or sigmoid."
        )
    return scores


def _sets(task: Multilabel, outputs: Array, labels: Array) -> Sets:
    if outputs.ndim != 2:
        raise StepFailed(f"A multilabel model's output must be (rows, labels); this one is {outputs.shape}.")
    if labels.shape != outputs.shape:
        raise InputError(
            f"Labels of shape {labels.shape} do not fit a model of {outputs.shape[1]} labels. "
            f"Expected (rows, {outputs.shape[1]}) of 0 and 1."
        )
    if labels.dtype.kind not in "fiub" or not np.isin(labels, (0, 1)).all():
        raise InputError("Labels of a multilabel task must be 0 or 1, a column for every label.")
    return Sets(_scores(task.output, outputs), labels == 1, task.output == "logits", task.threshold)


def class_numbers(labels: Array, classes: int) -> Array:
    """(n,) int64 class numbers from class numbers or one-hot rows.

    Raises:
        InputError: not class numbers of a model with so many classes.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == classes and classes > 1:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise InputError("Labels have one column a class but are not one-hot. Give class numbers, shape (rows,).")
        hot: Array = np.argmax(labels, axis=1)
        return hot
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"Labels of shape {labels.shape} do not fit a model with {classes} classes. "
            f"Expected (rows,) or (rows, {classes})."
        )
    if labels.dtype.kind not in "fiub" or not np.array_equal(labels, np.floor(labels)):
        raise InputError(
            f"Labels must be whole class numbers 0..{classes - 1}; got {labels.dtype} like {labels[:1].tolist()}."
        )
    numbers: Array = labels.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= classes:
        raise InputError(
            f"Labels run from {numbers.min()} to {numbers.max()}, but the model has classes 0..{classes - 1}."
        )
    return numbers


def _numbers(outputs: Array, labels: Array) -> Numbers:
    rows = outputs.shape[0]
    predicted, wanted = outputs.reshape(rows, -1), labels.reshape(rows, -1)
    if predicted.shape != wanted.shape:
        raise StepFailed(
            f"The model puts out {outputs.shape} where the labels are {labels.shape}; they must have the same size."
        )
    if labels.dtype.kind not in "fiub" or not np.isfinite(wanted).all():
        raise InputError("Labels of a regression must be finite numbers.")
    return Numbers(predicted.astype(np.float64), wanted.astype(np.float64))
