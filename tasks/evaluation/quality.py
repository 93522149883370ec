"""Estimates of quality with honest bounds: what a gate on a metric of the test rows limits, and how sure it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.evaluation.bootstrap import MIN_ROWS, bca_interval, function_interval
from tasks.evaluation.bounds import clopper_pearson, rows_needed, tango
from tasks.evaluation.evaluate import agreement as differences
from tasks.evaluation.evaluate import call_metric, same_class
from tasks.evaluation.evidence import Setting
from tasks.evaluation.gates import Gate, is_function
from tasks.evaluation.latency import Estimate
from tasks.evaluation.metrics import Metric, metrics_of
from tasks.evaluation.predictions import Classes, checked
from tasks.evaluation.task import Classification
from tasks.foundations.errors import StepFailed

Array = np.ndarray[Any, Any]


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
    A user's function is resampled by the percentile bootstrap. Metrics that see only the predicted class are never
    surer than Tango's interval without a differing row.

    Args:
        gate: the gate; its family is quality.
        setting: labels, task, functions.
        candidate: (all rows, ...) outputs.
        partner: the other's outputs for relative bounds, else None.
        rows: row numbers to look at.

    Raises:
        StepFailed: the metric cannot be computed; the gate fails closed.
    """
    labels = np.asarray(setting.labels)[rows]
    own = candidate[rows]
    other = None if partner is None else partner[rows]
    if is_function(gate.metric):
        return _by_function(gate, setting, labels, own, other)
    predictions = checked(setting.task, own, labels)
    classes = predictions.scores.shape[1] if isinstance(predictions, Classes) else None
    metric = metrics_of(setting.task, classes).get(gate.metric)
    if metric is None:
        raise StepFailed(f"{gate.metric} is not defined for this model with {classes} classes.")
    own_rows = metric.rows(predictions)
    if other is None:
        return _single(gate, setting, metric, own_rows)
    other_rows = metric.rows(checked(setting.task, other, labels))
    if metric.zero_one:
        return _paired_proportion(gate, own_rows[:, 0], other_rows[:, 0])
    return _paired_bootstrap(gate, setting, metric, own_rows, other_rows)


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


def _single(gate: Gate, setting: Setting, metric: Metric, rows: Any) -> Finding:
    n = rows.shape[0]
    point = float(metric.value(np.asarray(rows.sum(axis=0))))
    if not np.isfinite(point):
        raise StepFailed(f"{metric.name} is not defined on these {n} rows.")
    if metric.zero_one:
        ends = clopper_pearson(int(rows[:, 0].sum()), n, gate.confidence)
        return Finding(Estimate(point, *ends, n), "More test rows would decide.")
    interval = bca_interval(rows, metric.value, gate.confidence, setting.seed)
    return _bootstrapped(point, interval, n)


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


def _paired_bootstrap(gate: Gate, setting: Setting, metric: Metric, own: Any, other: Any) -> Finding:
    from scipy import sparse

    both = sparse.hstack([own, other], format="csr") if sparse.issparse(own) else np.concatenate([own, other], axis=1)

    def quantity(sums: Array) -> Array:
        ours, theirs = np.split(sums, 2, axis=-1)
        return _limited(gate, metric.value(ours), metric.value(theirs))

    n = own.shape[0]
    point = float(quantity(np.asarray(both.sum(axis=0))))
    if not np.isfinite(point):
        raise StepFailed(f"{metric.name} or its comparison is not defined on these {n} rows.")
    interval = bca_interval(both, quantity, gate.confidence, setting.seed)
    if interval is not None and metric.decisions:
        least = float(tango(0, 0, n, gate.confidence)[1])
        interval = min(interval[0], point - least), max(interval[1], point + least)
    return _bootstrapped(point, interval, n)


def _by_function(gate: Gate, setting: Setting, labels: Array, own: Array, other: Array | None) -> Finding:
    function = setting.functions.get(gate.metric)
    if function is None:
        raise StepFailed(f"{gate.metric} was not given to the evaluation.")

    def quantity(rows: Array) -> float:
        ours = call_metric(gate.metric, function, labels[rows], own[rows])
        if other is None:
            return ours
        theirs = call_metric(gate.metric, function, labels[rows], other[rows])
        return float(_limited(gate, np.float64(ours), np.float64(theirs)))

    n = labels.shape[0]
    point = quantity(np.arange(n))
    if not np.isfinite(point):
        raise StepFailed(f"{gate.metric} of the other model is 0, so a loss in percent of it is not defined.")
    return _bootstrapped(point, function_interval(quantity, n, gate.confidence, setting.seed), n)


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
    if interval is None:
        return Finding(Estimate(point, None, None, n), f"{n} rows are too few to say; at least {MIN_ROWS} are needed.")
    return Finding(Estimate(point, interval[0], interval[1], n), "More test rows would decide.")
