"""Estimates of quality with honest bounds: what a gate on a metric of the test rows limits, and how sure it is."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tasks.evaluation.bootstrap import FUNCTION_ROWS, MIN_ROWS, Unseen, bca_interval, function_interval
from tasks.evaluation.bounds import clopper_pearson, rows_needed, tango
from tasks.evaluation.evaluate import agreement as differences
from tasks.evaluation.evaluate import call_metric, same_answer
from tasks.evaluation.evidence import Setting
from tasks.evaluation.gates import Gate, is_function
from tasks.evaluation.latency import Estimate
from tasks.evaluation.metrics import Metric, metrics_of
from tasks.evaluation.predictions import Classes, checked
from tasks.evaluation.rows import Arrays, count, row_bytes, single, take
from tasks.evaluation.task import Classification, Custom, Multilabel, Regression
from tasks.evaluation.unseen import Sample, unseen_changes, with_changed
from tasks.foundations.errors import StepFailed

Array = np.ndarray[Any, Any]
COMMON = 0.16  # share of the commonest of many resamples where 6 rows count alike: a Poisson number of mean 6 is 6
DRAWN_BYTES = 8 * 2**20  # of one resample that a user's function sees: there are a thousand
FEWEST_DRAWN = 200  # rows, however large they are
FEW = 6  # a Poisson number of mean 6 is 0 once in 400 times: from here on resamples err on their own account


@dataclass(frozen=True)
class Finding:
    """An estimate of the quantity that a gate's bound limits, and what would help if it cannot decide."""

    estimate: Estimate
    advice: str = ""


def quality(gate: Gate, setting: Setting, candidate: Arrays, partner: Arrays | None, rows: Array) -> Finding:
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

    Resamples hold no row that was not seen, so they are surest where nothing differs. Therefore macro_f1 and the like,
    the user's function of a classifier, and roc_auc and log_loss where fewer than 6 rows matter, also get the error
    that unseen wrong answers of the worst kind leave open (`bootstrap.bca_interval`, `unseen`), at 95 % three rows of
    the class where a row weighs most; of a multilabel task, three rows with every label wrong. Of a custom
    task nobody but the function knows what is wrong: three rows get the answer of another row, where so few rows matter
    that many resamples are equal. Without any of these nothing can be said where no error was seen: the bound is
    missing, except where candidate and partner put out the same numbers.

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
    sample = Sample(take(setting.labels, rows), take(candidate, rows), None if partner is None else take(partner, rows))
    if is_function(gate.metric):
        return _by_function(gate, setting, sample)
    labels = single(sample.labels)
    predictions = checked(setting.task, single(sample.own), labels)
    classes = predictions.scores.shape[1] if isinstance(predictions, Classes) else None
    metric = metrics_of(setting.task, classes).get(gate.metric)
    if metric is None:
        raise StepFailed(f"{gate.metric} is not defined for this model with {classes} classes.")
    if not metric.zero_one:
        return _by_sums(Sums(gate, setting, metric, sample))
    right = metric.rows(predictions)
    if sample.other is None:
        return _exact_proportion(gate, right)
    return _paired_proportion(gate, right[:, 0], metric.rows(checked(setting.task, single(sample.other), labels))[:, 0])


def agreement(gate: Gate, setting: Setting, candidate: Arrays, reference: Arrays) -> Finding:
    """Agreement with the reference with its exact bound, or the largest difference on these rows, which has none.

    Raises:
        StepFailed: outputs that cannot be compared.
    """
    figures = differences(setting.task, candidate, reference)
    if gate.metric not in figures:
        raise StepFailed(f"{gate.metric} is not defined for a {setting.task.kind} task.")
    n = count(reference)
    if gate.metric != "agreement" or not isinstance(setting.task, Classification | Multilabel):
        return Finding(Estimate.exact(figures[gate.metric], n))
    same = int(np.count_nonzero(same_answer(setting.task, single(candidate), single(reference))))
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

        labels, other = single(self.sample.labels), self.sample.other
        parts = [outputs] if other is None else [outputs, single(other)[rows]]
        found = [self.metric.rows(checked(self.setting.task, each, labels[rows])) for each in parts]
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
            own = single(self.sample.own)[rows]
            before, after = (self._own_total(rows, each) for each in (own, outputs))
            moved = total.copy()
            moved[: before.size] += after - before
            return float(self.quantity(moved))
        everything = single(with_changed(self.sample.own, rows, outputs))  # rows of roc_auc depend on one another
        return float(self.quantity(_total(self.statistics(np.arange(self.sample.n), everything))))

    def _own_total(self, rows: Array, outputs: Array) -> Array:
        return _total(self.metric.rows(checked(self.setting.task, outputs, single(self.sample.labels)[rows])))


def _by_sums(sums: Sums) -> Finding:
    gate, setting, metric, sample = sums.gate, sums.setting, sums.metric, sums.sample
    rows = sums.statistics(np.arange(sample.n), single(sample.own))
    total = _total(rows)
    point = float(sums.quantity(total))
    if not np.isfinite(point):
        raise StepFailed(f"{metric.name} or its comparison is not defined on these {sample.n} rows.")
    unseen = None
    if metric.decisions or _few_rows_matter(rows, setting, sample):
        unseen = unseen_changes(gate, setting, sample, point, partial(sums.changed, total))
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

    def of(outputs: Arrays, rows: Array) -> float:
        labels = take(sample.labels, rows)
        ours = call_metric(gate.metric, function, labels, take(outputs, rows))
        if sample.other is None:
            return ours
        theirs = call_metric(gate.metric, function, labels, take(sample.other, rows))
        return float(_limited(gate, np.float64(ours), np.float64(theirs)))

    n = sample.n
    every = np.arange(n)
    point = of(sample.own, every)
    if not np.isfinite(point):
        raise StepFailed(f"{gate.metric} of the other model is 0, so a loss in percent of it is not defined.")

    def unseen(commonest: float) -> Unseen | None:
        if isinstance(setting.task, Custom) and commonest < COMMON:
            return None  # errors that differ from row to row resample well, whatever they are
        return unseen_changes(
            gate, setting, sample, point, lambda rows, outputs: of(with_changed(sample.own, rows, outputs), every)
        )

    most = min(FUNCTION_ROWS, max(FEWEST_DRAWN, DRAWN_BYTES // row_bytes(sample.own)))
    interval = function_interval(lambda rows: of(sample.own, rows), n, gate.confidence, setting.seed, unseen, most)
    no_error_seen = interval == (point, point)
    if no_error_seen and not (isinstance(setting.task, Regression | Custom) and sample.is_equal):
        return _unbounded(point, n)
    return _bootstrapped(point, interval, n)


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
