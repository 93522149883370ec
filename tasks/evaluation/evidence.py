"""What the gates look at: arrays and numbers that were predicted and measured elsewhere, gathered for one target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.evaluation.latency import Samples
from tasks.evaluation.rows import Arrays
from tasks.evaluation.task import AnyTask


@dataclass(frozen=True)
class Evidence:
    """One model on one target.

    Attributes:
        name: candidate's name, and its name in `Samples`; `float32`, `champion`, `reference` for the partners.
        digest: of the file that would be served; equal digests are compared by definition, not by measurement.
        outputs: (rows, ...) the judged output on the test rows in order; of a custom task with several outputs all of
            them by name; None if it could not predict.
        others: name -> (rows, ...) outputs that no label belongs to.
        size_bytes: None if unknown; the reference needs none.
        gzip_bytes: the same, compressed.
        failure: why there is no evidence (a champion that cannot be loaded, a step that failed); None if all is well.
    """

    name: str
    digest: str
    outputs: Arrays | None = None
    size_bytes: int | None = None
    gzip_bytes: int | None = None
    failure: str | None = None
    others: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What every candidate of one target is judged by.

    Attributes:
        task: how outputs are read.
        target: name of the target.
        labels: (rows,) or (rows, k) of the test split; of a custom task (rows, ...), or output name -> (rows, ...).
        reference: the trained model, run by TensorFlow; quality only.
        float32: the empty chain on this target.
        champion: the version in production on this target; None where there is none yet.
        samples: what was measured on this target; None if nothing was.
        slices: `column=value` -> numbers of its test rows.
        classes: their names, in the order of their numbers; empty where they have none.
        functions: the user's metrics by entrypoint, f(labels, outputs) -> float.
        seed: of the bootstrap.
    """

    task: AnyTask
    target: str
    labels: Arrays
    reference: Evidence
    float32: Evidence
    champion: Evidence | None = None
    samples: Samples | None = None
    slices: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    functions: Mapping[str, Callable[[Any, Any], float]] = field(default_factory=dict)
    seed: int = 0
