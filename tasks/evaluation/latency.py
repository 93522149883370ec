"""What measured calls say: ratios over rounds of fresh processes, because an interval from one pair of processes lies.

Times of two models are only compared within the same round and block, where they share the machine's mood. One
process in twenty settles 1.4 times slower for its whole life, so the unit that is counted is the round.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.evaluation.gates import COST
from tasks.evaluation.percentiles import Bounds, median_interval, percentile_interval
from tasks.foundations.errors import StepFailed

Array = np.ndarray[Any, Any]
RESOLUTION = 1.05  # no claim under 5 %
LOOKS = (5, 10, 15)
PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
THROUGHPUT = ("throughput_per_s", COST)  # a cost is the price of a throughput
PER_ROUND = ("load_ms", "first_call_ms", "peak_memory_bytes")


@dataclass(frozen=True)
class Samples:
    """Everything that was measured on one target.

    Attributes:
        calls_ms: contender -> one array (blocks, calls) a round, milliseconds. Contenders are the candidates by name
            (`float32` is always there), `champion` where a gate names it, and the control.
        load_ms: contender -> one figure a round: opening the model.
        first_call_ms: contender -> one figure a round.
        peak_memory_bytes: contender -> one figure a round: peak resident memory of its process.
        batch_size: rows a call.
        cost_per_hour: of the target, in the currency of the config; None if it is not known.
        control: name of the A/A control, float32 measured a second time.
    """

    calls_ms: Mapping[str, Sequence[Array]]
    load_ms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    first_call_ms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    batch_size: int = 1
    cost_per_hour: float | None = None
    control: str = "control"

    @property
    def rounds(self) -> int:
        """Rounds that every contender has finished."""
        return min((len(rounds) for rounds in self.calls_ms.values()), default=0)

    def has(self, metric: str, contender: str) -> bool:
        """Whether the metric was measured for the contender."""
        if metric == COST and self.cost_per_hour is None:
            return False
        source = getattr(self, metric) if metric in PER_ROUND else self.calls_ms
        return len(source.get(contender, ())) > 0


@dataclass(frozen=True)
class Estimate:
    """A measured figure: point, one-sided bounds (None: too few observations to say), observations behind it."""

    point: float
    low: float | None
    high: float | None
    n: int

    @classmethod
    def exact(cls, value: float, n: int = 1) -> "Estimate":
        """A figure without error."""
        return cls(value, value, value, n)

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high) where both are known."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def value(samples: Samples, metric: str, contender: str, confidence: float = 0.95) -> Estimate:
    """A contender's own figure.

    `p50_ms`, `p90_ms`, `p99_ms`: percentile of the pooled calls with its order-statistic interval, whose upper end is
    MLPerf's early-stopping bound. `throughput_per_s`: rows a second of one caller, median over rounds of the median
    over blocks. `cost_per_million`: what a million rows cost at that throughput, likewise. `load_ms`, `first_call_ms`,
    `peak_memory_bytes`: median over rounds.

    Raises:
        StepFailed: not measured, or not positive finite times.
    """
    if metric in PERCENTILES:
        pooled = np.concatenate([block.ravel() for block in _calls(samples, contender)])
        bounds = percentile_interval(pooled, PERCENTILES[metric], confidence)
        return _estimate(float(np.quantile(pooled, PERCENTILES[metric])), bounds, pooled.size)
    per_round = np.array(_figures(samples, metric, contender))
    return _estimate(float(np.median(per_round)), median_interval(per_round, confidence), per_round.size)


def speedup(samples: Samples, metric: str, contender: str, partner: str, confidence: float = 0.95) -> Estimate:
    """How many times better the contender is than its partner: above 1 is faster, or smaller in memory.

    A round's ratio: for `p50_ms`, `throughput_per_s` and `cost_per_million` (the price cancels out) the median over
    blocks of the ratio of the two blocks' medians (throughput: means) that were measured one after the other; for
    `p90_ms` and `p99_ms` the ratio of the round's percentiles; else the ratio of the round's figures. The value is the
    median over rounds, the interval is over rounds by ranks (`median_interval`); n is the number of rounds.

    Raises:
        StepFailed: not measured, or rounds that do not pair up.
    """
    if metric in ("p50_ms", *THROUGHPUT):
        ratios = _paired_blocks(samples, metric, contender, partner)
    else:
        own, other = (_figures(samples, metric, each) for each in (contender, partner))
        _check_pairs(len(own), len(other), contender, partner, "rounds")
        ratios = [theirs / ours for ours, theirs in zip(own, other, strict=True)]
    rounds = np.array(ratios)
    return _estimate(float(np.median(rounds)), median_interval(rounds, confidence), rounds.size)


def cost_per_million(cost_per_hour: float | None, rows_per_s: float) -> float:
    """What a million predictions cost on hardware that costs so much an hour and is kept busy.

    Raises:
        StepFailed: nobody has said what an hour costs.
    """
    if cost_per_hour is None:
        raise StepFailed(f"{COST} is not known: the target has no cost_per_hour.")
    return cost_per_hour * 1e6 / (3600 * rows_per_s)


def control_is_off(samples: Samples) -> str | None:
    """The A/A control: float32 against itself. A sentence if it is off by more than 5 % or missing, else None."""
    if not samples.has("p50_ms", samples.control) or not samples.has("p50_ms", "float32"):
        return "The A/A control was not measured, so no latency of this target can be trusted."
    ratio = speedup(samples, "p50_ms", samples.control, "float32").point
    if max(ratio, 1 / ratio) <= RESOLUTION:
        return None
    return (
        f"The A/A control (float32 against itself) is off by {abs(ratio - 1):.0%}, more than 5 %: the machine is too "
        "noisy. Run again when it is quiet."
    )


def comparison(ratio: Estimate) -> str:
    """`faster`, `slower` or `no difference`: a difference under 5 %, or an interval that holds 1, is no claim."""
    if ratio.low is not None and ratio.low > 1 and ratio.point >= RESOLUTION:
        return "faster"
    if ratio.high is not None and ratio.high < 1 and ratio.point <= 1 / RESOLUTION:
        return "slower"
    return "no difference"


def straddles(estimate: Estimate, bound: float) -> bool:
    """Whether the interval holds the bound, so that more rounds could decide."""
    low = -np.inf if estimate.low is None else estimate.low
    high = np.inf if estimate.high is None else estimate.high
    return bool(low < bound < high)


def turned_over(ratio: Estimate) -> Estimate:
    """A speed-up as a ratio of times, or the other way round."""
    low = None if ratio.high is None else 1 / ratio.high
    high = None if ratio.low is None else 1 / ratio.low
    return Estimate(1 / ratio.point, low, high, ratio.n)


def more_rounds_needed(samples: Samples, open_questions: Iterable[bool]) -> bool:
    """Whether to measure on.

    Looking after every round would let chance in: with a bound exactly at the truth, the chance to pass at any of
    eleven looks is twice that of one. So intervals are looked at after 5, 10 and 15 rounds only, where the chances to
    pass a wrong contender add up to 4.8 % at 95 % confidence (exact, see the tests).
    """
    if samples.rounds not in LOOKS:
        return samples.rounds < LOOKS[-1]
    return samples.rounds < LOOKS[-1] and (control_is_off(samples) is not None or any(open_questions))


def _estimate(point: float, bounds: Bounds, n: int) -> Estimate:
    return Estimate(point, bounds[0], bounds[1], n)


def _calls(samples: Samples, contender: str) -> list[Array]:
    rounds = [np.asarray(each, dtype=np.float64) for each in samples.calls_ms.get(contender, ())]
    if not rounds:
        raise StepFailed(f"{contender} has no latency samples.")
    for each in rounds:
        if each.ndim != 2 or each.size == 0 or not (np.isfinite(each) & (each > 0)).all():
            raise StepFailed(
                f"The latency samples of {contender} are not positive times of shape (blocks, calls): {each.shape}."
            )
    return rounds


def _figures(samples: Samples, metric: str, contender: str) -> list[float]:
    """One figure a round."""
    if metric in PER_ROUND:
        figures = [float(each) for each in getattr(samples, metric).get(contender, ())]
        if not figures or not all(np.isfinite(each) and each > 0 for each in figures):
            raise StepFailed(f"{metric} of {contender} was not measured.")
        return figures
    calls = _calls(samples, contender)
    if metric in THROUGHPUT:
        rates = [float(np.median(1000 * samples.batch_size / each.mean(axis=1))) for each in calls]
        return rates if metric != COST else [cost_per_million(samples.cost_per_hour, rate) for rate in rates]
    return [float(np.quantile(each, PERCENTILES[metric])) for each in calls]


def _paired_blocks(samples: Samples, metric: str, contender: str, partner: str) -> list[float]:
    centre = np.median if metric == "p50_ms" else np.mean
    own, other = _calls(samples, contender), _calls(samples, partner)
    _check_pairs(len(own), len(other), contender, partner, "rounds")
    ratios = []
    for ours, theirs in zip(own, other, strict=True):
        _check_pairs(ours.shape[0], theirs.shape[0], contender, partner, "blocks")
        ratios.append(float(np.median(centre(theirs, axis=1) / centre(ours, axis=1))))
    return ratios


def _check_pairs(own: int, other: int, contender: str, partner: str, what: str) -> None:
    if own != other:
        raise StepFailed(
            f"{contender} was measured for {own} {what} and {partner} for {other}; they must be measured in pairs."
        )
