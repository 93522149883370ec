"""What is asked and answered when a target is judged: records, so that it can be done in any process."""

from tasks.data.dataset import Split
from tasks.evaluation.choice import Choose, Outcome
from tasks.evaluation.gates import Gate
from tasks.evaluation.task import Task
from tasks.evaluation.verdict import Verdict
from tasks.foundations.record import Record


class Entry(Record):
    """One model on the target, as the steps before left it.

    Attributes:
        name: candidate name, or `champion`.
        digest: of the file that would be served; empty if there is none.
        predictions: absolute path of its predictions, None if it has none.
        size_bytes: of the form on disk.
        gzip_bytes: the same, compressed.
        failure: why it cannot be judged, None if it can.
        yardstick: candidate that it must not be slower than, by the proof of its technique.
    """

    name: str
    digest: str = ""
    predictions: str | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    failure: str | None = None
    yardstick: str | None = None


class AssessRequest(Record):
    """Everything that one target is judged by.

    Attributes:
        task: what the outputs mean.
        target: its name.
        gates: of the config.
        objective: of the config.
        folder: absolute path of the config's folder, for metrics of the user's own.
        split: the test rows.
        output: name of the judged output; a custom task's metrics see all outputs.
        reference: absolute path of the reference's predictions.
        candidates: those that have the target's form, `float32` first.
        champion: the version in production on this target; None where there is none yet.
        foreign_signature: how the champion's signature differs, empty if it does not or if the config allows it.
        measurement: absolute path of the measurement, None if nothing could be measured.
        cost_per_hour: of the target, None where the config does not say.
        seed: of the bootstrap.
    """

    task: Task
    target: str
    gates: tuple[Gate, ...]
    objective: Choose
    folder: str
    split: Split
    output: str
    reference: str
    candidates: tuple[Entry, ...]
    champion: Entry | None = None
    foreign_signature: str = ""
    measurement: str | None = None
    cost_per_hour: float | None = None
    seed: int = 0


class Assessed(Record):
    """One candidate on the target; a figure that could not be had is absent.

    Attributes:
        name: the candidate.
        outcome: of its gates.
        reason: one sentence.
        verdicts: of every gate.
        quality: quality metrics and agreement with the reference.
        times: latency figures and their intervals.
        drop: how much worse than the reference the primary metric is, None where it is not defined.
        slices, classes: quality by group.
        quantiles: (q, ms) of all calls.
        rounds, calls: behind the times.
        pareto: not dominated.
    """

    name: str
    outcome: Outcome
    reason: str
    verdicts: tuple[Verdict, ...]
    quality: dict[str, float] = {}
    times: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    drop: float | None = None
    slices: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}
    quantiles: tuple[tuple[float, float], ...] = ()
    rounds: int | None = None
    calls: int | None = None
    pareto: bool = False


class Quality(Record):
    """Figures of the reference."""

    metrics: dict[str, float] = {}
    slices: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}


class Assessment(Record):
    """One target judged."""

    winner: str | None
    exit_code: int
    reason: str
    candidates: tuple[Assessed, ...]
    reference: Quality
    control_ratio: float | None = None
    control_interval: tuple[float, float] | None = None
