"""Everything that is shown of one release, in one record stored as `release.json`.

The HTML report, the terminal table, `release --json`, the Prefect artifacts and the figures in MLflow are all drawn
from this record alone, so a report can be made again long after the artifacts are gone, and no two of them disagree.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.evaluation.verdict import Verdict
from tasks.foundations.errors import InputError
from tasks.foundations.files import write_whole
from tasks.foundations.record import Record
from tasks.serving.answers import Observation, Validation

FILE = "release.json"
BASELINE = "float32"

Outcome = Literal["pass", "fail", "inconclusive", "broken", "not_applicable"]
Interval = tuple[float, float]


class LimitLine(Record):
    """A gate's bound turned into a value on an axis of the plots.

    Attributes:
        metric: the axis it belongs to: the primary metric, `p50_ms`, `p90_ms` or `p99_ms`.
        value: where the line stands, in the metric's own unit (the floor itself, not the allowed drop).
        label: what a reader needs, `accuracy max_drop 0.01 against reference`.
    """

    metric: str
    value: float
    label: str


class CandidateRow(Record):
    """One candidate on one target. A figure that could not be had is None; nothing is guessed.

    Attributes:
        name: candidate name from the config; `float32` is the empty chain.
        target: target name from the config.
        chain: technique words in order.
        outcome: what the gates made of it, or why they could not: `broken`, `not_applicable`.
        reason: one sentence for a person.
        winner: chosen for this target.
        pareto: not dominated on quality, p50 and size.
        digest: sha256 of the candidate's artifact.
        primary_value: value of `ReleaseSummary.primary_metric`.
        primary_drop: how much worse than the reference, in the direction of worse; negative is better.
        metrics: all quality metrics over the test split.
        accuracy_drop: reference's accuracy minus this one's, absolute fraction.
        agreement: share of rows with the reference's top-1 answer.
        p50_ms: latency; each `*_interval` is (low, high) of the value before it.
        speedup_p50: float32's p50 over this one's, paired within rounds; above 1 is faster.
        cost_per_million: what a million rows cost here, in the currency of the target's `cost_per_hour`.
        latency_quantiles: (q in [0, 1], ms), about 100 points, ascending.
        slices: `column=value` -> {metric: value, "n": rows}.
        classes: class -> {metric: value, "n": rows}.
        proof: the evidence figures of the final file.
        seconds: what this candidate cost on this target.
    """

    name: str
    target: str
    outcome: Outcome
    reason: str = ""
    chain: tuple[str, ...] = ()
    winner: bool = False
    pareto: bool = False
    digest: str | None = None
    primary_value: float | None = None
    primary_drop: float | None = None
    metrics: dict[str, float | None] = {}
    accuracy: float | None = None
    accuracy_drop: float | None = None
    agreement: float | None = None
    p50_ms: float | None = None
    p50_interval: Interval | None = None
    p90_ms: float | None = None
    p90_interval: Interval | None = None
    p99_ms: float | None = None
    p99_interval: Interval | None = None
    speedup_p50: float | None = None
    speedup_interval: Interval | None = None
    throughput_per_s: float | None = None
    cost_per_million: float | None = None
    cost_interval: Interval | None = None
    load_ms: float | None = None
    first_call_ms: float | None = None
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    latency_quantiles: tuple[tuple[float, float], ...] = ()
    rounds: int | None = None
    calls: int | None = None
    slices: dict[str, dict[str, float | None]] = {}
    classes: dict[str, dict[str, float | None]] = {}
    verdicts: tuple[Verdict, ...] = ()
    proof: dict[str, Any] = {}
    seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Every gate passed."""
        return self.outcome == "pass"

    @property
    def drop(self) -> float | None:
        """The drop to show beside the primary metric."""
        return self.accuracy_drop if self.primary_drop is None else self.primary_drop

    @model_validator(mode="before")
    @classmethod
    def _drop_non_finite(cls, content: Any) -> Any:
        # A metric that is undefined for a candidate (log loss of a broken model) must not cost the whole report.
        return _finite(content) if isinstance(content, dict) else content


class Stage(Record):
    """One stage of the release, of one candidate or of all.

    Attributes:
        name: the verb, `train`, `convert`, `measure`.
        candidate: candidate name, None for a stage of the whole release.
        seconds: wall time.
        reused: the result came from an earlier release; nothing ran.
        outcome: what became of it.
        reason: why it failed or did not apply, else empty.
    """

    name: str
    candidate: str | None = None
    seconds: float | None = None
    reused: bool = False
    outcome: Literal["done", "failed", "not_applicable", "skipped"] = "done"
    reason: str = ""


class TargetSummary(Record):
    """One target: what was asked for, on what it ran, and how far its clock can be trusted.

    Attributes:
        settings: the target as resolved from the config.
        environment: stamp of the measuring process: CPU, flags, runtime version, threads.
        control_ratio: float32 against itself; 1.0 is a quiet machine.
        control_interval: (low, high) over rounds.
        control_ok: within 5 % of 1; None when not measured. When False, latency verdicts are inconclusive.
        rounds: rounds of fresh processes.
        noise: spread of float32's p50 over rounds, as a fraction of its median.
        limits: bounds of the gates as lines for the plots.
        reason: why this winner, or why none, as the choice put it.
    """

    settings: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    control_ratio: float | None = None
    control_interval: Interval | None = None
    control_ok: bool | None = None
    rounds: int | None = None
    noise: float | None = None
    limits: tuple[LimitLine, ...] = ()
    reason: str = ""


class Quality(Record):
    """Quality figures of the reference, which drops and slice colours are counted from."""

    metrics: dict[str, float | None] = {}
    slices: dict[str, dict[str, float | None]] = {}
    classes: dict[str, dict[str, float | None]] = {}


class Priced(Record):
    """A candidate on a target, and what a million rows cost there, with its interval over rounds."""

    target: str
    candidate: str
    cost_per_million: float
    cost_interval: Interval | None = None


class Recommendation(Priced):
    """The cheapest of all that passed every gate on their target.

    Attributes:
        next: the cheapest on any other target; None where no other one has a cost and a candidate that passed.
        saving: share of the next one's cost that is saved, from 0 to 1.
    """

    next: Priced | None = None
    saving: float | None = None


class ReleaseSummary(Record):
    """One release, whole.

    Attributes:
        decision: one sentence: `promoted version 3 (was 2)`, `refused: ...`, `already in production`.
        started: ISO time; so is `finished`.
        exit_code: of the command: 0 done, 1 error, 3 refused, 4 inconclusive.
        version: MLflow version of this release's bundle; None when none was registered.
        previous: version that was in production before.
        validation: how the version did in a server of its own, before its promotion; empty without one.
        servers: who answered with the version after its promotion.
        champion: the champion's line before this release, None for a first release.
        winners: target -> candidate name.
        recommendation: the cheapest hardware; None where no target has a cost, or nothing passed on one that has.
        objective: what the choice minimised or maximised, `minimize p50_ms`.
        primary_metric: the quality metric that the plots and tables lead with.
        higher_is_better: its direction.
        rows: one a candidate and target, in the order of the config.
        environment: library versions and machine of the orchestrating process.
        notes: warnings for the reader.
    """

    schema_version: int = 1
    release: str
    model: str
    started: str
    finished: str
    exit_code: int
    decision: str
    config: dict[str, Any] = {}
    config_path: str | None = None
    version: int | None = None
    previous: int | None = None
    promoted: bool = False
    validation: tuple[Validation, ...] = ()
    servers: tuple[Observation, ...] = ()
    champion: str | None = None
    winners: dict[str, str] = {}
    recommendation: Recommendation | None = None
    objective: str = "minimize p50_ms"
    primary_metric: str = "accuracy"
    higher_is_better: bool = True
    reference: Quality = Quality()
    rows: tuple[CandidateRow, ...] = ()
    stages: tuple[Stage, ...] = ()
    targets: dict[str, TargetSummary] = {}
    environment: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    mlflow_link: str | None = None
    mlflow_ui: str | None = Field(default=None, description="Command that must run for the link to answer.")
    report_path: str | None = Field(default=None, description="Where report.html was written.")

    def target_names(self) -> list[str]:
        """Every target that is configured or has a row, in order."""
        return list(dict.fromkeys([*self.targets, *(row.target for row in self.rows)]))

    def rows_of(self, target: str) -> list[CandidateRow]:
        """Rows of one target, in order."""
        return [row for row in self.rows if row.target == target]

    def candidate_names(self) -> list[str]:
        """Candidates in order; a candidate's number in every table and plot is its place here, from 1."""
        return list(dict.fromkeys(row.name for row in self.rows))

    def baseline(self, target: str) -> CandidateRow | None:
        """The float32 row of a target, which ratios are against."""
        return next((row for row in self.rows_of(target) if row.name == BASELINE), None)

    def winner(self, target: str) -> CandidateRow | None:
        """The winning row of a target."""
        return next((row for row in self.rows_of(target) if row.winner), None)

    @property
    def has_costs(self) -> bool:
        """Whether any figure is a cost."""
        return any(row.cost_per_million is not None for row in self.rows)

    def size_ratio(self, row: CandidateRow) -> float | None:
        """Size over float32's size on the same target; below 1 is smaller."""
        base = self.baseline(row.target)
        if base is None or not base.size_bytes or row.size_bytes is None:
            return None
        return row.size_bytes / base.size_bytes

    def to_json(self) -> dict[str, Any]:
        """The object that `release --json` prints: plain JSON types, no NaN."""
        return {
            "model": self.model,
            "release": self.release,
            "decision": self.decision,
            "version": self.version,
            "previous": self.previous,
            "promoted": self.promoted,
            "validation": [each.model_dump(mode="json") for each in self.validation],
            "servers": [each.model_dump(mode="json") for each in self.servers],
            "exit_code": self.exit_code,
            "winners": dict(self.winners),
            "recommendation": self.recommendation.model_dump(mode="json") if self.recommendation else None,
            "candidates": [_candidate_json(row) for row in self.rows],
            "primary_metric": self.primary_metric,
            "objective": self.objective,
            "started": self.started,
            "finished": self.finished,
            "stages": [stage.model_dump(mode="json") for stage in self.stages],
            "notes": list(self.notes),
            "report": self.report_path,
            "mlflow": self.mlflow_link,
            "mlflow_ui": self.mlflow_ui,
        }

    def write(self, folder: Path) -> Path:
        """Write `release.json` into `folder`, whole or not at all."""
        path = folder / FILE
        write_whole(path, json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False))
        return path

    @classmethod
    def read(cls, path: Path) -> "ReleaseSummary":
        """Read `release.json`, given the file or its folder.

        Raises:
            InputError: no such file, or not a release of this version of Slipway.
        """
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise InputError(f"There is no {file}. Expected the release.json that a release writes.")
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise InputError(f"{file} is not a release summary of this version of Slipway: {first}.") from error


# The long lists stay in release.json.
_LONG = {"slices", "classes", "latency_quantiles", "proof"}


def _candidate_json(row: CandidateRow) -> dict[str, Any]:
    return {"passed": row.passed} | row.model_dump(mode="json", exclude=_LONG)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
