"""What wrong answers that no test row has shown could do to a metric at their worst, so that no bound is too sure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tasks.evaluation.bootstrap import CHANGED, Unseen
from tasks.evaluation.evidence import Setting
from tasks.evaluation.gates import AT_LEAST, Gate
from tasks.evaluation.predictions import Classes, Sets, checked
from tasks.evaluation.rows import Arrays, count, equal, single, take
from tasks.evaluation.task import Classification, Custom, Multilabel
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
TRIED = 32  # classes, rarest first: a row of a common class moves no metric most


@dataclass(frozen=True)
class Sample:
    """The rows that are judged: labels, the candidate's outputs, and the partner's where there is one."""

    labels: Arrays
    own: Arrays
    other: Arrays | None

    @property
    def n(self) -> int:
        """How many."""
        return count(self.labels)

    @cached_property
    def is_equal(self) -> bool:
        """Whether both put out the same numbers, bit for bit: then nothing is left to tell them apart by."""
        return self.other is not None and equal(self.own, self.other)


def unseen_changes(
    gate: Gate, setting: Setting, sample: Sample, point: float, changed: Callable[[Array, Any], float]
) -> Unseen | None:
    """How far the limited quantity moves when 1, 2, 3, ... more rows of the worst kind are answered wrongly.

    None where no answer can be called wrong: for regression, and for labels or outputs of an unknown form. The other
    way, towards better, a comparison is mirrored; a value by itself is not widened.
    """

    def effect(rows: Array, outputs: Any) -> float:
        try:
            change = changed(rows, outputs) - point
        except (StepFailed, InputError):  # undefined, so it may be anything
            return np.inf
        return -change if gate.bound in AT_LEAST else change

    predictions = _predictions(setting, sample)
    changes: Array | None
    if isinstance(setting.task, Custom):
        changes = _worst_swaps(sample, effect, setting.seed)
    elif isinstance(predictions, Sets):
        changes = _worst_sets(predictions, effect)
    else:
        changes = None if predictions is None else _worst_changes(setting, sample, predictions, effect)
    if changes is None:
        return None
    mirrored = changes if sample.other is not None else np.zeros_like(changes)
    return (changes, mirrored) if gate.bound in AT_LEAST else (mirrored, changes)


def _worst_changes(
    setting: Setting, sample: Sample, predictions: Classes, effect: Callable[[Array, Array], float]
) -> Array | None:
    """(len(CHANGED),) rising effects of so many right rows turned wrong: those of the classes where one does most harm.

    A class that occurs neither in the labels nor in the predictions is no wrong answer, unless there is only one: the
    first row to name such a class takes 1 / classes from macro_f1, however many rows there are.
    """
    labels = predictions.labels
    right = np.flatnonzero(labels == predictions.predicted())
    by_rarity = _named_classes(predictions)
    tried = [each for each in by_rarity if np.any(labels[right] == each)][:TRIED]
    if not tried:
        return None

    def harm(rows: Array, wrong: int) -> float:
        instead = next(each for each in reversed(by_rarity) if each != wrong)
        target = np.where(labels[rows] == wrong, instead, wrong)
        return effect(rows, _surest(setting.task, single(sample.own), predictions, target))

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


def _worst_sets(predictions: Sets, effect: Callable[[Array, Array], float]) -> Array | None:
    """As `_worst_changes`: rows that were answered rightly, with every label wrong that occurs at all.

    A row that holds a rare label does most harm, or one that holds none; one row of each kind is tried.
    """
    labels, predicted = predictions.labels, predictions.predicted()
    right = np.flatnonzero((labels == predicted).all(axis=1))
    if not right.size:
        right = np.arange(len(labels))
    occurs = (labels | predicted).any(axis=0)
    wrong = _surest_sets(predictions, np.where(occurs, ~labels[right], predicted[right]))
    rarest = np.argsort(labels.sum(axis=0), kind="stable")[:TRIED]
    groups = [np.flatnonzero(labels[right, each]) for each in rarest] + [np.flatnonzero(~labels[right].any(axis=1))]
    kinds = [group for group in groups if group.size]
    kinds.sort(key=lambda group: effect(right[group[:1]], wrong[group[:1]]), reverse=True)
    order = np.array(list(dict.fromkeys(int(row) for group in kinds for row in group[: CHANGED[-1]])))
    if not order.size:
        return None
    harm = [effect(right[order[:number]], wrong[order[:number]]) for number in CHANGED[1:]]
    changes: Array = np.maximum.accumulate([0.0, *harm])
    return changes


def _worst_swaps(sample: Sample, effect: Callable[[Array, Any], float], seed: int) -> Array | None:
    """As `_worst_changes`, where only the user's function knows what is wrong: rows that get the answer of another row.

    The worst of some pairs that are drawn by the seed; None where none of them does any harm.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(sample.n)[:TRIED]
    donors = (rows + rng.integers(1, sample.n, rows.size)) % sample.n
    harm = np.array([effect(rows[[i]], take(sample.own, donors[[i]])) for i in range(rows.size)])
    if not (harm > 0).any():
        return None
    worst = np.argsort(-harm, kind="stable")
    rows, donors = rows[worst], donors[worst]
    several = [effect(rows[:number], take(sample.own, donors[:number])) for number in CHANGED[1:]]
    changes: Array = np.maximum.accumulate([0.0, *several])
    return changes


def _surest_sets(predictions: Sets, target: Array) -> Array:
    """Scores that say this of every label as surely as the candidate ever did."""
    scores = predictions.scores.astype(np.result_type(predictions.scores, np.float32))
    low, high = scores.min(axis=0), scores.max(axis=0)
    above = np.nextafter(np.asarray(predictions.cut, scores.dtype), np.asarray(np.inf, scores.dtype))
    answers: Array = np.where(target, np.maximum(high, above), np.minimum(low, predictions.cut))
    return answers.astype(scores.dtype)


def _predictions(setting: Setting, sample: Sample) -> Classes | Sets | None:
    """The candidate's; None for other tasks, and where only the user's function can read them."""
    if not isinstance(setting.task, Classification | Multilabel):
        return None
    try:
        predictions = checked(setting.task, single(sample.own), single(sample.labels))
    except (StepFailed, InputError):
        return None
    return predictions if isinstance(predictions, Classes | Sets) else None


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


def with_changed(outputs: Arrays, rows: Array, changed: Arrays) -> Arrays:
    """The outputs with other ones in these rows."""
    if isinstance(outputs, Mapping) and isinstance(changed, Mapping):
        return {name: _replaced(outputs[name], rows, changed[name]) for name in outputs}
    return _replaced(single(outputs), rows, single(changed))


def _replaced(outputs: Array, rows: Array, changed: Array) -> Array:
    replaced = np.array(outputs, dtype=np.result_type(outputs, changed))
    replaced[rows] = changed
    return replaced
