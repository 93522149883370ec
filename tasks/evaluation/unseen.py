"""What wrong answers that no test row has shown could do to a metric at their worst, so that no bound is too sure."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tasks.evaluation.bootstrap import CHANGED, Unseen
from tasks.evaluation.evidence import Setting
from tasks.evaluation.gates import AT_LEAST, Gate
from tasks.evaluation.predictions import Classes, checked
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
TRIED = 32  # classes, rarest first: a row of a common class moves no metric most


@dataclass(frozen=True)
class Sample:
    """The rows that are judged: labels, the candidate's outputs, and the partner's where there is one."""

    labels: Array
    own: Array
    other: Array | None

    @property
    def n(self) -> int:
        """How many."""
        return int(self.labels.shape[0])

    @cached_property
    def is_equal(self) -> bool:
        """Whether both put out the same numbers, bit for bit: then nothing is left to tell them apart by."""
        return self.other is not None and np.array_equal(self.own, self.other)


def unseen_changes(
    gate: Gate, setting: Setting, sample: Sample, point: float, changed: Callable[[Array, Array], float]
) -> Unseen | None:
    """How far the limited quantity moves when 1, 2, 3, ... more rows of the worst kind are answered wrongly.

    None where no answer can be called wrong: for regression, and for labels or outputs of an unknown form. The other
    way, towards better, a comparison is mirrored; a value by itself is not widened.
    """

    def effect(rows: Array, outputs: Array) -> float:
        try:
            change = changed(rows, outputs) - point
        except (StepFailed, InputError):  # undefined, so it may be anything
            return np.inf
        return -change if gate.bound in AT_LEAST else change

    changes = _worst_changes(setting, sample, effect)
    if changes is None:
        return None
    mirrored = changes if sample.other is not None else np.zeros_like(changes)
    return (changes, mirrored) if gate.bound in AT_LEAST else (mirrored, changes)


def _worst_changes(setting: Setting, sample: Sample, effect: Callable[[Array, Array], float]) -> Array | None:
    """(len(CHANGED),) rising effects of so many right rows turned wrong: those of the classes where one does most harm.

    A class that occurs neither in the labels nor in the predictions is no wrong answer, unless there is only one: the
    first row to name such a class takes 1 / classes from macro_f1, however many rows there are.
    """
    predictions = _classes(setting, sample)
    if predictions is None:
        return None
    labels = predictions.labels
    right = np.flatnonzero(labels == predictions.predicted())
    by_rarity = _named_classes(predictions)
    tried = [each for each in by_rarity if np.any(labels[right] == each)][:TRIED]
    if not tried:
        return None

    def harm(rows: Array, wrong: int) -> float:
        instead = next(each for each in reversed(by_rarity) if each != wrong)
        target = np.where(labels[rows] == wrong, instead, wrong)
        return effect(rows, _surest(setting.task, sample.own, predictions, target))

    def harm_of_one(label: int, wrong: int) -> float:
        return harm(right[labels[right] == label][:1], wrong)

    tried.sort(key=partial(harm_of_one, wrong=by_rarity[-1]), reverse=True)
    wrong = max((each for each in by_rarity[:TRIED] if each != tried[0]), key=partial(harm_of_one, tried[0]))
    order = np.concatenate([right[labels[right] == each] for each in tried])
    changes: Array = np.maximum.accumulate([0.0, *(harm(order[:count], wrong) for count in CHANGED[1:])])
    return changes


def _named_classes(predictions: Classes) -> list[int]:
    """The classes that occur in labels or predictions, rarest first; all where only one does."""
    named = np.concatenate([predictions.labels, predictions.predicted()])
    counts = np.bincount(named, minlength=predictions.scores.shape[1])
    order: list[int] = np.argsort(counts, kind="stable").tolist()
    occurring = [each for each in order if counts[each]]
    return occurring if len(occurring) > 1 else order


def _classes(setting: Setting, sample: Sample) -> Classes | None:
    """The candidate's predictions; None for regression, and where only the user's function can read them."""
    try:
        predictions = checked(setting.task, sample.own, sample.labels)
    except (StepFailed, InputError):
        return None
    return predictions if isinstance(predictions, Classes) else None


def _surest(task: Any, outputs: Array, predictions: Classes, wrong: Array) -> Array:
    """Outputs that name these classes as surely as the candidate ever did: metrics of ranks see how sure it was."""
    row = int(np.argmax(np.ptp(predictions.scores, axis=1)))
    named = int(predictions.predicted()[row])
    turned = np.repeat(np.asarray(outputs[row : row + 1], np.result_type(outputs, np.float32)), wrong.size, axis=0)
    if turned.ndim == 1 or turned.shape[1] == 1:
        other = wrong != named
        turned[other] = -turned[other] if task.output == "logits" else 1 - turned[other]
        return turned
    every = np.arange(wrong.size)
    turned[every, wrong], turned[every, named] = turned[every, named], turned[every, wrong]
    return turned


def with_changed(outputs: Array, rows: Array, changed: Array) -> Array:
    """The outputs with other ones in these rows."""
    replaced = np.array(outputs, dtype=np.result_type(outputs, changed))
    replaced[rows] = changed
    return replaced
