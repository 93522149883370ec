"""Run `saved_model/` with TensorFlow on the CPU: the form that TensorFlow Serving loads, and the reference itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.foundations.work_pools import WorkPool
from tasks.models.signature import Signature
from tasks.runtimes.session import WORK_POOL, Array, CostPerHour, Session, check_names, one_line, read_signature

MODEL = "saved_model"
SIGNATURE = "serving_default"


class TensorFlow(Record):
    """TensorFlow in the process that calls it."""

    form: ClassVar[str] = "savedmodel"
    library: ClassVar[str] = "tensorflow"
    # `import tensorflow` eagerly imports Keras (which drags in matplotlib and scikit-learn) and looks for the others;
    # loading a SavedModel runs a graph and needs none of them. It halves the start: 1.7 instead of 3.8 s.
    needless: ClassVar[tuple[str, ...]] = ("keras", "tf_keras", "h5py", "scipy")

    runtime: Literal["tensorflow"]
    threads: int = Field(default=1, ge=1, le=1024, description="Threads inside one operation (intra-op).")
    batch_size: int = Field(default=1, ge=1, description="Rows of one call.")
    work_pool: WorkPool | None = Field(None, description=WORK_POOL)
    cost_per_hour: CostPerHour = None

    def options(self) -> dict[str, Any]:
        """Thread counts and the signature called, as JSON."""
        return {"intra_op_parallelism_threads": self.threads, "inter_op_parallelism_threads": 1, "signature": SIGNATURE}

    def environment(self) -> dict[str, str]:
        """Threads, quiet logs, no search for a GPU and no telemetry for a process of its own."""
        return {
            "TF_NUM_INTRAOP_THREADS": str(self.threads),
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": str(self.threads),
            "OPENBLAS_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0",
        }

    def prepare(self) -> None:
        """Import TensorFlow and set its threads, which hold for the whole process.

        `open` leaves them alone: in a worker that has served other jobs they belong to the worker.

        Raises:
            StepFailed: TensorFlow is already at work in this process, with other threads.
        """
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(self.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:
            raise StepFailed(
                f"TensorFlow is already at work in this process, so {self.threads} thread(s) cannot be set. "
                "Open the target in a process of its own."
            ) from error

    def open(self, folder: Path) -> Session:
        """Load `saved_model/` and its `serving_default` signature.

        Raises:
            InputError: no SavedModel or signature file there, no such signature in it, or their names differ.
            StepFailed: TensorFlow cannot load it.
        """
        import tensorflow as tf

        # In a bundle, as on a TensorFlow Serving node, the version's folder is itself the SavedModel.
        bare = (folder / "saved_model.pb").is_file()
        signature = read_signature(folder, "saved_model.pb" if bare else MODEL)
        try:
            model = tf.saved_model.load(str(folder if bare else folder / MODEL))
        except Exception as error:  # whatever a foreign graph raises while it is restored
            raise StepFailed(f"TensorFlow {tf.__version__} cannot load {folder / MODEL}: {one_line(error)}") from error
        if SIGNATURE not in model.signatures:
            raise InputError(
                f"{folder / MODEL} has the signatures {sorted(model.signatures)}, not {SIGNATURE!r}. "
                f"Export it with a signature called {SIGNATURE}."
            )
        session = _TensorFlowSession(model, signature)
        check_names(folder, signature, set(session.inputs), set(session.outputs))
        return session


class _TensorFlowSession:
    """See `tasks.runtimes.session.Session`."""

    def __init__(self, model: Any, signature: Signature) -> None:
        import tensorflow as tf

        self.signature = signature
        self._model = model  # a signature's function does not keep the variables alive
        self._function = model.signatures[SIGNATURE]
        self._tensor = tf.constant
        self.inputs: dict[str, Any] = dict(self._function.structured_input_signature[1])
        self.outputs: dict[str, Any] = dict(self._function.structured_outputs)
        batches = {spec.shape[0] for spec in self.inputs.values() if spec.shape.rank}
        batches.discard(None)
        self.fixed_batch: int | None = batches.pop() if batches else None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One call; see the contract."""
        try:
            outputs = self._function(**{name: self._tensor(array) for name, array in inputs.items()})
            return {name: outputs[name].numpy() for name in self.signature.outputs}
        except Exception as error:  # a graph raises the error class of whichever operation failed
            raise StepFailed(f"TensorFlow failed while running the model: {one_line(error)}") from error
