"""What every technique is handed, and what all of them promise: the contract of this menu."""

from typing import Any, ClassVar, Literal, Protocol

from tasks.data.dataset import Split
from tasks.foundations.record import Record

# Where in a chain a technique may stand; the grammar orders chains by it.
Place = Literal["distillation", "training", "onnx"]


class Step(Record):
    """One application of one technique.

    Attributes:
        source: absolute path of the folder to start from (`model.onnx`, `signature.json` at level `onnx`).
        out: absolute path of an empty folder for the result.
        calibration: rows that activations are measured on, never those of the test.
    """

    source: str
    out: str
    calibration: Split


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

    def apply(self, step: Step) -> None:
        """Write the changed model into `step.out`.

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
