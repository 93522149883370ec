"""Run `model.tflite` with LiteRT, once TensorFlow Lite: what apps on phones and small devices run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations.record import Record
from tasks.foundations.work_pools import WorkPool
from tasks.models.litert_file import MODEL_FILE, Interpreted
from tasks.models.signature import Signature
from tasks.runtimes.session import WORK_POOL, Array, CostPerHour, Session, check_names, read_signature


class LiteRt(Record):
    """LiteRT, with XNNPACK on the CPU, in the process that calls it. The bundle carries the file; nothing serves it."""

    form: ClassVar[str] = "litert"
    library: ClassVar[str] = "ai_edge_litert"
    needless: ClassVar[tuple[str, ...]] = ()

    runtime: Literal["litert"]
    threads: int = Field(default=1, ge=1, le=1024, description="Threads inside one call, of XNNPACK too.")
    batch_size: int = Field(default=1, ge=1, description="Rows of one call.")
    work_pool: WorkPool | None = Field(None, description=WORK_POOL)
    cost_per_hour: CostPerHour = None

    def options(self) -> dict[str, Any]:
        """The interpreter's only option, as JSON."""
        return {"num_threads": self.threads}

    def environment(self) -> dict[str, str]:
        """One thread for NumPy, and quiet logs, in a process of its own."""
        return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def prepare(self) -> None:
        """Import the interpreter; its threads belong to the session."""
        import ai_edge_litert.interpreter  # noqa: F401

    def open(self, folder: Path) -> Session:
        """Open `model.tflite`.

        Raises:
            InputError: no `model.tflite` or no signature there, or their names differ.
            StepFailed: LiteRT refuses the file.
        """
        signature = read_signature(folder, MODEL_FILE)
        model = Interpreted(folder / MODEL_FILE, self.options()["num_threads"])
        check_names(folder, signature, set(model.inputs), set(model.outputs))
        return _LiteRtSession(model, signature)


class _LiteRtSession:
    """See `tasks.runtimes.session.Session`."""

    def __init__(self, model: Interpreted, signature: Signature) -> None:
        self.signature = signature
        self.fixed_batch = model.fixed_batch
        self._outputs = list(signature.outputs)
        self._run = model.run

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One call; see the contract."""
        outputs = self._run(inputs)
        return {name: outputs[name] for name in self._outputs}
