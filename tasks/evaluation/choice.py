"""The winner of a target, the same one every time, and which candidates nothing else beats on every axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.evaluation.gates import family, is_function, unknown_metric
from tasks.evaluation.gates import higher_is_better as known_direction
from tasks.evaluation.judge import passes
from tasks.evaluation.latency import RESOLUTION
from tasks.evaluation.verdict import Verdict
from tasks.foundations.record import Record

SAME_SIZE = 1.01  # a file is not chosen for a handful of bytes
_TOLERANCES: dict[str | None, float] = {
    "latency": RESOLUTION,
    "throughput": RESOLUTION,
    "cost": RESOLUTION,
    "size": SAME_SIZE,
}
PASSED, FAILED, REFUSED, UNDECIDED = 0, 1, 3, 4
EVIDENCE = "evidence"  # the metric of a verdict on whether there is anything to judge
Outcome = Literal["pass", "fail", "inconclusive"]


class Choose(Record):
    """The objective among candidates that pass every gate. Default: minimize p50_ms."""

    minimize: str | None = Field(
        default=None, min_length=1, description="The smallest value of this metric wins, e.g. p50_ms."
    )
    maximize: str | None = Field(
        default=None, min_length=1, description="The largest value of this metric wins, e.g. accuracy."
    )

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.minimize or self.maximize or "p50_ms"

    @property
    def maximizes(self) -> bool:
        """Whether the largest value wins."""
        return self.maximize is not None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.minimize is not None and self.maximize is not None:
            raise ValueError("choose has one objective: give minimize or maximize, not both.")
        if family(self.metric) is None:
            raise ValueError(unknown_metric(self.metric))
        if not is_function(self.metric) and self.maximizes != known_direction(self.metric):
            word = "maximize" if known_direction(self.metric) else "minimize"
            raise ValueError(f"{self.metric} is better the other way: write {word}: {self.metric}.")
        return self


@dataclass(frozen=True)
class Judged:
    """One candidate on one target.

    Attributes:
        name: the candidate.
        verdicts: of every gate.
        figures: metric -> value, e.g. `accuracy`, `p50_ms`, `size_bytes`; whatever is known.
        drop: how much worse than the reference the primary metric is.
    """

    name: str
    verdicts: Sequence[Verdict]
    figures: Mapping[str, float] = field(default_factory=dict)
    drop: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """Fail if any gate failed, else inconclusive if any is, else pass."""
        statuses = {verdict.status for verdict in self.verdicts}
        if passes(self.verdicts):
            return "pass"
        return "fail" if "fail" in statuses else "inconclusive"


@dataclass(frozen=True)
class Choice:
    """What a target gets.

    Attributes:
        winner: name of the candidate, None if there is none.
        exit_code: 0 with a winner, 4 if a candidate could still pass with more evidence, 1 if none was good for being
            judged, else 3.
        reason: one sentence.
    """

    winner: str | None
    exit_code: int
    reason: str


def choose(objective: Choose, candidates: Sequence[Judged]) -> Choice:
    """The best by the objective among candidates that pass, in any order of the input the same one.

    Times, throughput and cost differ by noise alone up to 5 %, so all candidates within 5 % of the best are equal; so
    are sizes within 1 %, other metrics only exactly. Among equals the smaller file wins (`size_bytes`, unknown is
    last); among files within 1 % the one that loses least against the reference, then the one that compresses best,
    then the name. A candidate that passes but lacks the objective's figure cannot win.

    Args:
        objective: from the config.
        candidates: all of one target.
    """
    metric = objective.metric
    passing = [each for each in candidates if each.outcome == "pass"]
    able = [each for each in passing if metric in each.figures]
    if not able:
        return _no_winner(objective, candidates, passing)
    sign = -1.0 if objective.maximizes else 1.0
    best = min(sign * each.figures[metric] for each in able)
    within = _TOLERANCES.get(family(metric), 1.0)
    equal = [each for each in able if _is_equal(each.figures[metric], sign * best, within)]
    least = min(_size(each) for each in equal)
    small = [each for each in equal if _size(each) <= least * SAME_SIZE]
    winner = min(small, key=lambda each: (each.drop, each.figures.get("gzip_bytes", float("inf")), each.name))
    word = "largest" if objective.maximizes else "smallest"
    reason = f"{winner.name} passes every gate and has the {word} {metric}, {_shown(winner.figures[metric])}."
    if len(equal) > 1:
        others = ", ".join(sorted(each.name for each in equal if each is not winner))
        near = "equal" if within == 1.0 else f"within {100 * (within - 1):.0f} %"
        why = "its file is no larger" if len(small) == 1 else "of files of its size it loses least"
        reason = f"{winner.name} passes every gate; {metric} of {others} is {near}, and {why}."
    return Choice(winner.name, PASSED, reason)


def release_exit_code(choices: Sequence[Choice]) -> int:
    """The worst target: failed (1), refused (3), inconclusive (4), done (0); refused if there is no target."""
    codes = {choice.exit_code for choice in choices}
    return next((code for code in (FAILED, REFUSED, UNDECIDED, PASSED) if code in codes), REFUSED)


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"


def _is_equal(figure: float, best: float, within: float) -> bool:
    return figure == best or max(figure, best) <= within * min(figure, best)


def _size(candidate: Judged) -> float:
    return candidate.figures.get("size_bytes", float("inf"))


def _no_winner(objective: Choose, candidates: Sequence[Judged], passing: Sequence[Judged]) -> Choice:
    if passing:
        names = ", ".join(sorted(each.name for each in passing))
        return Choice(None, REFUSED, f"{names} pass every gate, but {objective.metric} is not known for any of them.")
    broken = [verdict for each in candidates for verdict in each.verdicts[:1] if verdict.metric == EVIDENCE]
    if candidates and len(broken) == len(candidates):
        return Choice(None, FAILED, f"No candidate could be judged. {candidates[0].name}: {broken[0].reason}")
    unsure = sorted(each.name for each in candidates if each.outcome == "inconclusive")
    if unsure:
        return Choice(None, UNDECIDED, f"No candidate passes; the measurements cannot decide on {', '.join(unsure)}.")
    return Choice(None, REFUSED, "No candidate passes every gate.")


@dataclass(frozen=True)
class ParetoPoint:
    """One candidate in the plot of quality, latency and size; `on_front` if no other is at least as good in all."""

    name: str
    quality: float
    p50_ms: float
    size_bytes: float
    passed: bool
    on_front: bool


def pareto(
    candidates: Sequence[Judged], quality_metric: str, higher_is_better: bool | None = None
) -> list[ParetoPoint]:
    """Mark the candidates that no other beats: at least as good on quality, p50_ms and size_bytes and better on one.

    Candidates without all three figures are left out; rejected ones stay, marked by `passed`.

    Args:
        candidates: all of one target.
        quality_metric: the primary metric.
        higher_is_better: its direction where it is the user's own.
    """
    is_better_higher = known_direction(quality_metric) if higher_is_better is None else higher_is_better
    sign = 1.0 if is_better_higher else -1.0
    wanted = (quality_metric, "p50_ms", "size_bytes")
    known = [each for each in candidates if all(metric in each.figures for metric in wanted)]
    costs = [
        (-sign * each.figures[quality_metric], each.figures["p50_ms"], each.figures["size_bytes"]) for each in known
    ]
    return [
        ParetoPoint(
            each.name,
            each.figures[quality_metric],
            each.figures["p50_ms"],
            each.figures["size_bytes"],
            each.outcome == "pass",
            not any(_beats(other, cost) for other in costs),
        )
        for each, cost in zip(known, costs, strict=True)
    ]


def _beats(other: tuple[float, ...], cost: tuple[float, ...]) -> bool:
    return other != cost and all(theirs <= ours for theirs, ours in zip(other, cost, strict=True))
