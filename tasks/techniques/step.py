"""What every technique is handed, and what all of them promise: the contract of this menu."""

from typing import Any, ClassVar, Literal, Protocol

from tasks.data.dataset import Split
from tasks.foundations.record import Record
from tasks.training.fit import FitSettings

# Where in a chain a technique may stand; the grammar orders chains by it.
Place = Literal["distillation", "training", "onnx"]


class Step(Record):
    """One application of one technique.

    Attributes:
        source: absolute path of the folder to start from. Level `onnx`: `model.onnx`, `signature.json`. Level
            `training`: `twin.keras`, `signature.json`, and the `promises.json` of earlier techniques, if any; for a
            distillation only `signature.json` counts.
        out: absolute path of an empty folder for the result.
        calibration: rows that activations are measured on, never those of the test.
        dataset: `train` and `validation`, for techniques that train.
        fit: how those are trained where the technique says nothing else; None if nothing in the config says so.
        teacher: split -> absolute path of the reference's stored outputs on it, for a distillation.
    """

    source: str
    out: str
    calibration: Split
    dataset: dict[str, Split] = {}
    fit: FitSettings | None = None
    teacher: dict[str, str] = {}


class Technique(Protocol):
    """One file of this menu: a frozen Record named by `kind`.

    Attributes:
        level: what it changes: an ONNX file, or a model that is trained.
        place: its place in a chain.
        followed_by: kind of the technique that must come right after it, None for any or none.
    """

    level: ClassVar[Literal["training", "onnx"]]
    place: ClassVar[Place]
    followed_by: ClassVar[str | None]
    kind: str

    def apply(self, step: Step) -> dict[str, Any] | None:
        """Write the changed model into `step.out`; what it can tell of its work, for `evidence.json`.

        Raises:
            NotApplicable: the model has nothing that this technique can change, or something that it cannot.
            StepFailed: it broke on the way.
        """
        ...

    def prove(self, folder: str, source: str) -> dict[str, Any]:
        """Show on the written file that the promise was kept; figures for `evidence.json`.

        Raises:
            ProofFailed: it was not.
        """
        ...
