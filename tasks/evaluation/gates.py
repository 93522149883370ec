"""What a gate in the YAML may say, refused early with a sentence where it makes no sense."""

import re
from collections.abc import Collection, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.evaluation.metrics import CLASSIFICATION, MULTILABEL, REGRESSION, metrics_of
from tasks.evaluation.task import AnyTask, Custom, Regression
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest

Family = Literal["quality", "agreement", "latency", "throughput", "memory", "size", "cost"]
Bound = Literal["min", "max", "max_drop", "max_drop_percent", "min_gain", "min_speedup", "max_ratio"]
Partner = Literal["reference", "float32", "champion"]

BOUNDS: tuple[Bound, ...] = ("min", "max", "max_drop", "max_drop_percent", "min_gain", "min_speedup", "max_ratio")
ABSOLUTE = ("min", "max")
AT_LEAST = ("min", "min_gain", "min_speedup")
# And top_K_accuracy.
SHARES = ("accuracy", "exact_match", "hamming_accuracy", "macro_f1", "micro_f1", "roc_auc", "agreement")
COST = "cost_per_million"
TOP_K = re.compile(r"top_(\d+)_accuracy")
BUILT_IN = (*CLASSIFICATION, *MULTILABEL, *REGRESSION)
FAMILIES: dict[str, Family] = {
    **{metric.name: "quality" for metric in BUILT_IN},
    "agreement": "agreement",
    "max_abs_diff": "agreement",
    "max_rel_diff": "agreement",
    "p50_ms": "latency",
    "p90_ms": "latency",
    "p99_ms": "latency",
    "load_ms": "latency",
    "first_call_ms": "latency",
    "throughput_per_s": "throughput",
    "peak_memory_bytes": "memory",
    "size_bytes": "size",
    "gzip_bytes": "size",
    COST: "cost",
}
HIGHER_IS_BETTER = {metric.name: metric.higher_is_better for metric in BUILT_IN} | {
    "agreement": True,
    "throughput_per_s": True,
}
NO_CLASSES = (
    "agreement needs classes or labels, which a {} task does not have. Use max_abs_diff or max_rel_diff, or a metric "
    "of your own."
)
RELATIVE: dict[Family, tuple[Bound, ...]] = {
    "quality": ("max_drop", "max_drop_percent", "min_gain"),
    "agreement": (),
    "latency": ("min_speedup", "max_ratio"),
    "throughput": ("min_speedup",),
    "memory": ("max_ratio",),
    "size": ("max_ratio",),
    "cost": ("max_ratio",),
}


def family(metric: str) -> Family | None:
    """What kind of figure a metric is, None for an unknown word; `file.py:function`, `top_3_accuracy` are quality."""
    if is_function(metric) or TOP_K.fullmatch(metric):
        return "quality"
    return FAMILIES.get(metric)


def is_function(metric: str) -> bool:
    """Whether the metric is the user's own, `digits.py:my_metric`."""
    file, colon, function = metric.partition(":")
    return bool(colon) and file.endswith(".py") and function.isidentifier()


def higher_is_better(metric: str) -> bool:
    """Direction of a known metric that is not the user's own; times, sizes and errors are better when lower."""
    return TOP_K.fullmatch(metric) is not None or HIGHER_IS_BETTER.get(metric, False)


class Gate(Record):
    """One limit that a candidate must keep; exactly one bound."""

    metric: str = Field(
        description="accuracy, top_K_accuracy (K is task.top_k), macro_f1, roc_auc, log_loss; multilabel: exact_match, "
        "hamming_accuracy, macro_f1, micro_f1, roc_auc, log_loss; regression: mae, rmse, r2; with the reference: "
        "agreement, max_abs_diff, max_rel_diff; p50_ms, p90_ms, p99_ms, load_ms, first_call_ms, throughput_per_s, "
        "peak_memory_bytes, size_bytes, gzip_bytes; cost_per_million, of targets with a cost_per_hour; or your own "
        "file.py:function, called as f(labels, outputs) -> float."
    )
    against: Partner | None = Field(
        default=None,
        description="What a relative bound compares with. Default: reference for quality, float32 for all else.",
    )
    min: float | None = Field(default=None, description="The value must be at least this.")
    max: float | None = Field(default=None, description="The value must be at most this.")
    max_drop: float | None = Field(default=None, ge=0, description="Allowed loss, absolute, in the direction of worse.")
    max_drop_percent: float | None = Field(
        default=None, ge=0, description="Allowed loss in percent of the other's value."
    )
    min_gain: float | None = Field(
        default=None, ge=0, description="Demanded gain, absolute, in the direction of better."
    )
    min_speedup: float | None = Field(
        default=None,
        gt=0,
        description="Demanded speed-up: the other's time divided by this one's. 1.0 is `not slower`.",
    )
    max_ratio: float | None = Field(
        default=None, gt=0, description="Allowed ratio of this one's figure to the other's."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="One-sided confidence of the decision.")
    slices: Literal["all"] | tuple[str, ...] | None = Field(
        default=None,
        description="Judge each of these slices instead of all rows: `all`, slice columns, or single `column=value`.",
    )
    targets: tuple[str, ...] | None = Field(
        default=None, description="Targets where the gate holds. Default: every target."
    )
    higher_is_better: bool | None = Field(
        default=None, description="Direction of your own metric function; default true. Not allowed on other metrics."
    )

    @property
    def bound(self) -> Bound:
        """The one bound that is set."""
        return next(name for name in BOUNDS if getattr(self, name) is not None)

    @property
    def allowed(self) -> float:
        """The value of the bound."""
        limit: float = getattr(self, self.bound)
        return limit

    @property
    def family(self) -> Family:
        """What kind of figure it limits."""
        found = family(self.metric)
        assert found is not None  # noqa: S101 - validated
        return found

    @property
    def partner(self) -> Partner | None:
        """What it compares with, defaults filled in; None for an absolute bound."""
        if self.family == "agreement":
            return "reference"
        if self.bound in ABSOLUTE:
            return None
        return self.against or ("reference" if self.family == "quality" else "float32")

    @property
    def is_better_higher(self) -> bool:
        """Direction of its metric."""
        if is_function(self.metric):
            return self.higher_is_better is not False
        return higher_is_better(self.metric)

    def describe(self) -> str:
        """`accuracy max_drop 0.01 against reference`."""
        against = f" against {self.partner}" if self.partner else ""
        return f"{self.metric} {self.bound} {self.allowed:g}{against}"

    def concerns(self, target: str) -> bool:
        """Whether it holds on the target."""
        return self.targets is None or target in self.targets

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        complaints = (_metric_complaint, _bound_complaint, _value_complaint, _partner_complaint, _option_complaint)
        for complaint in complaints:
            sentence = complaint(self)
            if sentence:
                raise ValueError(sentence)
        return self


def unknown_metric(metric: str) -> str:
    """The sentence about a word that is no metric."""
    known = [*FAMILIES, "top_5_accuracy"]
    meant = suggest(metric, known)
    return f"unknown metric {metric!r}.{meant} Known: {', '.join(known)}, or your own file.py:function."


def _metric_complaint(gate: Gate) -> str | None:
    return unknown_metric(gate.metric) if family(gate.metric) is None else None


def _bound_complaint(gate: Gate) -> str | None:
    given = [name for name in BOUNDS if getattr(gate, name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        return f"a gate needs exactly one of {', '.join(BOUNDS)}; the gate on {gate.metric} has {found}."
    absolute: Bound = "min" if gate.is_better_higher else "max"
    sensible = (absolute, *RELATIVE[gate.family])
    if given[0] in sensible:
        return None
    use = f"Use one of {', '.join(sensible)}."
    if given[0] not in ABSOLUTE:
        return f"{given[0]} is not a bound of {gate.metric}. {use}"
    better = "higher" if gate.is_better_higher else "lower"
    hint = " If it is not, add higher_is_better: false." if is_function(gate.metric) and gate.is_better_higher else ""
    return f"{given[0]} makes no sense for {gate.metric}, which is better when {better}. {use}{hint}"


def _value_complaint(gate: Gate) -> str | None:
    """A bound that every model keeps, or none, is a slip of the pen: mostly a percentage."""
    if gate.metric not in SHARES and not TOP_K.fullmatch(gate.metric):
        return None
    if gate.bound == "max_drop_percent":
        return (
            None if gate.allowed <= 100 else f"{gate.metric} cannot lose more than 100 percent. Got {gate.allowed:g}."
        )
    if 0 <= gate.allowed <= 1:
        return None
    hint = f"Did you mean {gate.allowed / 100:g}?" if 1 < gate.allowed <= 100 else f"Got {gate.allowed:g}."
    return f"{gate.metric} is a share from 0 to 1. {hint}"


def _partner_complaint(gate: Gate) -> str | None:
    if gate.against is None:
        return None
    if gate.family == "agreement":
        return None if gate.against == "reference" else f"{gate.metric} is always with the reference; remove `against`."
    if gate.bound in ABSOLUTE:
        return (
            f"{gate.bound} is an absolute bound and compares with nothing: remove `against`, or use a relative bound."
        )
    if gate.against == "reference" and gate.family != "quality":
        return f"{gate.metric} of the reference is not measured. Compare with float32 or champion."
    return None


def _option_complaint(gate: Gate) -> str | None:
    if gate.higher_is_better is not None and not is_function(gate.metric):
        return f"higher_is_better is for your own metric functions; the direction of {gate.metric} is known."
    if gate.slices is not None and gate.family != "quality":
        return f"slices are groups of test rows; {gate.metric} has none. Remove `slices`."
    if gate.slices == () or gate.targets == ():
        return "an empty list of slices or targets would never be judged. Remove the key or name some."
    return None


def check_gates(gates: Sequence[Gate], task: AnyTask, targets: Collection[str]) -> None:
    """Check what one gate cannot know: that its metric fits the task and that its targets exist.

    Raises:
        InputError: one sentence, starting with the gate's place, `gates[2]`.
    """
    known = metrics_of(task)
    for number, gate in enumerate(gates):
        place = f"gates[{number}] ({gate.describe()})"
        if gate.family == "quality" and not is_function(gate.metric) and gate.metric not in known:
            raise InputError(f"{place}: {not_of_task(gate.metric, task, known)}")
        if gate.metric == "agreement" and isinstance(task, Regression | Custom):
            raise InputError(f"{place}: {NO_CLASSES.format(task.kind)}")
        unknown = sorted(set(gate.targets or ()) - set(targets))
        if unknown:
            meant = suggest(unknown[0], targets)
            raise InputError(
                f"{place}: there is no target {unknown[0]!r}.{meant} Targets: {', '.join(sorted(targets))}."
            )


def not_of_task(metric: str, task: AnyTask, known: Collection[str]) -> str:
    """The sentence about a metric that another kind of task has."""
    if isinstance(task, Custom):
        return (
            f"{metric} is no metric of a custom task, which has those of your own: file.py:function, called as "
            "f(labels, outputs) -> float."
        )
    return f"{metric} is no metric of this {task.kind} task. It has: {', '.join(known)}."


def metric_functions(gates: Sequence[Gate]) -> list[str]:
    """The user's own metric entrypoints that gates name, each once, in order."""
    return list(dict.fromkeys(gate.metric for gate in gates if is_function(gate.metric)))
