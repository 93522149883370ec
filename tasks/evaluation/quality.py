"""Estimates of quality with honest bounds: what a gate on a metric of the test rows limits, and how sure it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tasks.evaluation.bootstrap import CHANGED, MIN_ROWS, Unseen, bca_interval, function_interval
from tasks.evaluation.bounds import clopper_pearson, rows_needed, tango
from tasks.evaluation.evaluate import agreement as differences
from tasks.evaluation.evaluate import call_metric, same_class
from tasks.evaluation.evidence import Setting
from tasks.evaluation.gates import Gate, is_function
from tasks.evaluation.latency import Estimate
from tasks.evaluation.metrics import Metric, metrics_of
from tasks.evaluation.predictions import Classes, checked
from tasks.evaluation.task import Classification, Regression
from tasks.foundations.errors import InputError, StepFailed

Array = np.ndarray[Any, Any]
AT_LEAST = ("min", "min_gain")
FEW = 6  # a Poisson number of mean 6 is 0 once in 400 times: from here on resamples err on their own account
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


@dataclass(frozen=True)
class Finding:
    """An estimate of the quantity that a gate's bound limits, and what would help if it cannot decide."""

    estimate: Estimate
    advice: str = ""


def quality(gate: Gate, setting: Setting, candidate: Array, partner: Array | None, rows: Array) -> Finding:
    """Estimate what a quality gate limits, on the given rows.

    | bound | quantity | 0/1 metrics | others |
    |---|---|---|---|
    | min, max | the metric | Clopper-Pearson | BCa bootstrap |
    | max_drop | partner - candidate, turned so that worse is positive | Tango | paired BCa bootstrap |
    | min_gain | its negative | Tango | paired BCa bootstrap |
    | max_drop_percent | 100 drop / abs(partner) | Tango / partner | paired BCa bootstrap of the ratio |

    For 0/1 metrics in percent the partner's own error is left out; that widens the interval: with drop d = r p, the
    linearised variance changes by r d (1 + p) - 2 r p10 <= 0, since p10, the share of newly wrong rows, is at least d.
    A user's function is resampled by the percentile bootstrap.

    Resamples hold no row that was not seen, so they are surest where nothing differs. Therefore macro_f1 and the
    user's function of a classifier, and roc_auc and log_loss where fewer than 6 rows matter, also get the error that
    unseen wrong answers of the worst kind leave open (`bootstrap.bca_interval`, `unseen`), at 95 % three rows of the
    class where a row weighs most. Without classes nothing can be said where no error was seen: the bound is missing,
    except where candidate and partner put out the same numbers.

    Args:
        gate: the gate; its family is quality.
        setting: labels, task, functions.
        candidate: (all rows, ...) outputs.
        partner: the other's outputs for relative bounds, else None.
        rows: row numbers to look at.

    Raises:
        StepFailed: the metric cannot be computed; the gate fails closed.
        InputError: labels that do not fit the model, or a user's metric that fails; the gate fails closed.
    """
    sample = Sample(np.asarray(setting.labels)[rows], candidate[rows], None if partner is None else partner[rows])
    if is_function(gate.metric):
        return _by_function(gate, setting, sample)
    predictions = checked(setting.task, sample.own, sample.labels)
    classes = predictions.scores.shape[1] if isinstance(predictions, Classes) else None
    metric = metrics_of(setting.task, classes).get(gate.metric)
    if metric is None:
        raise StepFailed(f"{gate.metric} is not defined for this model with {classes} classes.")
    if not metric.zero_one:
        return _by_sums(Sums(gate, setting, metric, sample))
    right = metric.rows(predictions)
    if sample.other is None:
        return _exact_proportion(gate, right)
    return _paired_proportion(gate, right[:, 0], metric.rows(checked(setting.task, sample.other, sample.labels))[:, 0])


def agreement(gate: Gate, setting: Setting, candidate: Array, reference: Array) -> Finding:
    """Top-1 agreement with the reference with its exact bound, or the largest difference on these rows, which has none.

    Raises:
        StepFailed: outputs that cannot be compared.
    """
    figures = differences(setting.task, candidate, reference)
    if gate.metric not in figures:
        raise StepFailed(f"{gate.metric} is not defined for a {setting.task.kind} task.")
    n = reference.shape[0]
    if gate.metric != "agreement" or not isinstance(setting.task, Classification):
        return Finding(Estimate.exact(figures[gate.metric], n))
    same = int(np.count_nonzero(same_class(setting.task, candidate, reference)))
    return Finding(Estimate(same / n, *clopper_pearson(same, n, gate.confidence), n), "More test rows would decide.")


def _exact_proportion(gate: Gate, rows: Array) -> Finding:
    n = rows.shape[0]
    right = int(rows[:, 0].sum())
    return Finding(Estimate(right / n, *clopper_pearson(right, n, gate.confidence), n), "More test rows would decide.")


def _paired_proportion(gate: Gate, own: Array, other: Array) -> Finding:
    n = own.size
    lost, won = int(np.sum(other > own)), int(np.sum(own > other))
    low, high = (float(end) for end in tango(lost, won, n, gate.confidence))
    scale = _percent_scale(gate, float(other.mean()))
    sign = -1 if gate.bound == "min_gain" else 1
    ends = sorted((sign * scale * low, sign * scale * high))
    advice = f"{lost + won} of {n} rows differ."
    if gate.bound != "min_gain" and gate.allowed > 0:
        needed = rows_needed(max(lost + won, 1) / n, gate.allowed / scale, gate.confidence)
        advice += f" About {max(needed, n + 1):,} test rows would decide if nothing is lost in truth."
    return Finding(Estimate(sign * scale * (lost - won) / n, ends[0], ends[1], n), advice)


@dataclass(frozen=True)
class Sums:
    """The limited quantity as a function of sums over rows: of the candidate and, beside them, of the partner."""

    gate: Gate
    setting: Setting
    metric: Metric
    sample: Sample

    def statistics(self, rows: Array, outputs: Array) -> Any:
        """Of these rows, if the candidate had answered so; dense or sparse."""
        from scipy import sparse

        parts = [outputs] if self.sample.other is None else [outputs, self.sample.other[rows]]
        found = [self.metric.rows(checked(self.setting.task, each, self.sample.labels[rows])) for each in parts]
        return sparse.hstack(found, format="csr") if sparse.issparse(found[0]) else np.concatenate(found, axis=1)

    def quantity(self, sums: Array) -> Array:
        """Sums (..., k) -> what the bound limits (...)."""
        if self.sample.other is None:
            return self.metric.value(sums)
        ours, theirs = np.split(sums, 2, axis=-1)
        return _limited(self.gate, self.metric.value(ours), self.metric.value(theirs))

    def changed(self, total: Array, rows: Array, outputs: Array) -> float:
        """The quantity if the candidate had answered these rows so."""
        if self.metric.decisions:
            before, after = (self._own_total(rows, each) for each in (self.sample.own[rows], outputs))
            moved = total.copy()
            moved[: before.size] += after - before
            return float(self.quantity(moved))
        everything = _with(self.sample.own, rows, outputs)  # rows of roc_auc depend on one another
        return float(self.quantity(_total(self.statistics(np.arange(self.sample.n), everything))))

    def _own_total(self, rows: Array, outputs: Array) -> Array:
        return _total(self.metric.rows(checked(self.setting.task, outputs, self.sample.labels[rows])))


def _by_sums(sums: Sums) -> Finding:
    gate, setting, metric, sample = sums.gate, sums.setting, sums.metric, sums.sample
    rows = sums.statistics(np.arange(sample.n), sample.own)
    total = _total(rows)
    point = float(sums.quantity(total))
    if not np.isfinite(point):
        raise StepFailed(f"{metric.name} or its comparison is not defined on these {sample.n} rows.")
    unseen = None
    if metric.decisions or _few_rows_matter(rows, setting, sample):
        unseen = _unseen(gate, setting, sample, point, partial(sums.changed, total))
        if unseen is None:
            return _unbounded(point, sample.n)
    return _bootstrapped(point, bca_interval(rows, sums.quantity, gate.confidence, setting.seed, unseen), sample.n)


def _total(rows: Any) -> Array:
    return np.asarray(rows.sum(axis=0))


def _few_rows_matter(statistics: Array, setting: Setting, sample: Sample) -> bool:
    """Whether the error hangs on so few rows that resampling them says little; no row where all outputs are equal.

    (sum d^2)^2 / sum d^4 of the rows' differences d is m where m rows differ alike and the others hardly; one pair of
    rows that change places moves every row of roc_auc a little. Errors of a regression are only counted: a few large
    ones are common there, and nothing could be said instead.
    """
    if sample.is_equal:
        return False
    own, *other = np.split(statistics, 1 if sample.other is None else 2, axis=1)
    size = np.abs(own - (other[0] if other else own.mean(axis=0))).sum(axis=1)
    if isinstance(setting.task, Regression) or not size.any():
        return int(np.count_nonzero(size)) < FEW
    size = size / size.max()
    return float(np.sum(size**2) ** 2 / np.sum(size**4)) < FEW


def _by_function(gate: Gate, setting: Setting, sample: Sample) -> Finding:
    function = setting.functions.get(gate.metric)
    if function is None:
        raise StepFailed(f"{gate.metric} was not given to the evaluation.")

    def of(outputs: Array, rows: Array) -> float:
        ours = call_metric(gate.metric, function, sample.labels[rows], outputs[rows])
        if sample.other is None:
            return ours
        theirs = call_metric(gate.metric, function, sample.labels[rows], sample.other[rows])
        return float(_limited(gate, np.float64(ours), np.float64(theirs)))

    n = sample.n
    every = np.arange(n)
    point = of(sample.own, every)
    if not np.isfinite(point):
        raise StepFailed(f"{gate.metric} of the other model is 0, so a loss in percent of it is not defined.")
    unseen = _unseen(gate, setting, sample, point, lambda rows, outputs: of(_with(sample.own, rows, outputs), every))
    interval = function_interval(lambda rows: of(sample.own, rows), n, gate.confidence, setting.seed, unseen)
    no_error_seen = interval == (point, point)
    if no_error_seen and not (isinstance(setting.task, Regression) and sample.is_equal):
        return _unbounded(point, n)
    return _bootstrapped(point, interval, n)


def _unseen(
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


def _with(outputs: Array, rows: Array, changed: Array) -> Array:
    replaced = np.array(outputs, dtype=np.result_type(outputs, changed))
    replaced[rows] = changed
    return replaced


def _limited(gate: Gate, ours: Any, theirs: Any) -> Array:
    """The quantity that the bound limits: a drop, a gain, or a drop in percent (NaN where the other is 0)."""
    drop = np.asarray(theirs - ours if gate.is_better_higher else ours - theirs, dtype=np.float64)
    if gate.bound == "min_gain":
        return -drop
    if gate.bound == "max_drop":
        return drop
    size = np.abs(np.asarray(theirs, dtype=np.float64))
    percent: Array = np.divide(100 * drop, size, out=np.full(drop.shape, np.nan), where=size > 0)
    return percent


def _percent_scale(gate: Gate, other: float) -> float:
    if gate.bound != "max_drop_percent":
        return 1.0
    if other <= 0:
        raise StepFailed(f"{gate.metric} of the other model is 0, so a loss in percent of it is not defined.")
    return 100 / other


def _bootstrapped(point: float, interval: tuple[float, float] | None, n: int) -> Finding:
    if interval is None and n < MIN_ROWS:
        return Finding(Estimate(point, None, None, n), f"{n} rows are too few to say; at least {MIN_ROWS} are needed.")
    if interval is None or not np.isfinite(interval).all():
        return Finding(Estimate(point, None, None, n), "The metric is undefined if a few more rows change.")
    return Finding(Estimate(point, interval[0], interval[1], n), "More test rows would decide.")


def _unbounded(point: float, n: int) -> Finding:
    advice = "Too few of these rows tell the models apart to say how sure that is; more test rows may."
    return Finding(Estimate(point, None, None, n), advice)
