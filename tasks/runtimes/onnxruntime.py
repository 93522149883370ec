"""Run `model.onnx` with ONNX Runtime, on the CPU or on what another build of it can use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tasks.foundations.errors import StepFailed
from tasks.foundations.record import Record
from tasks.foundations.work_pools import WorkPool
from tasks.models.signature import Signature
from tasks.runtimes.providers import (
    Provider,
    as_provider,
    check_installed,
    check_loaded,
    preload,
    provider_options,
    record,
)
from tasks.runtimes.session import WORK_POOL, Array, CostPerHour, Session, check_names, one_line, read_signature

MODEL = "model.onnx"
# Since 1.29 importing it on Linux starts a thread that reports to Microsoft and keeps a database in the home folder.
# Only the environment, and only before the import, turns that off wholly (microsoft/onnxruntime pull 27379).
SILENT = {"ORT_DISABLE_TELEMETRY": "1"}


class OnnxRuntime(Record):
    """ONNX Runtime in the process that calls it."""

    form: ClassVar[str] = "onnx"
    library: ClassVar[str] = "onnxruntime"
    needless: ClassVar[tuple[str, ...]] = ()

    runtime: Literal["onnxruntime"]
    threads: int = Field(default=1, ge=1, le=1024, description="Threads inside one call (intra-op).")
    batch_size: int = Field(default=1, ge=1, description="Rows of one call.")
    work_pool: WorkPool | None = Field(None, description=WORK_POOL)
    cost_per_hour: CostPerHour = None
    provider: Annotated[Provider, BeforeValidator(as_provider)] = Field(
        "cpu",
        description="Where ONNX Runtime computes; all but cpu need another build of it, in an environment of its own.",
    )

    def options(self) -> dict[str, Any]:
        """Session options as JSON; `open_session` turns them into a session.

        Spinning keeps idle pool threads burning a core for the next call. One thread has no pool, so the entry
        changes nothing there; more threads keep ONNX Runtime's own default, because a small model alone on its
        machine is up to a third slower without. It is written down so that a server opens what was measured.
        """
        return {
            "intra_op_num_threads": self.threads,
            "inter_op_num_threads": 1,
            "execution_mode": "ORT_SEQUENTIAL",
            "graph_optimization_level": "ORT_ENABLE_ALL",
            "config_entries": {
                "session.intra_op.allow_spinning": "1" if self.threads > 1 else "0",
                **record(self.provider),
            },
            **provider_options(self.provider, self.threads),
        }

    def environment(self) -> dict[str, str]:
        """OpenMP and BLAS threads of a process of its own, and no telemetry."""
        return {"OMP_NUM_THREADS": str(self.threads), "OPENBLAS_NUM_THREADS": "1", **SILENT}

    def prepare(self) -> None:
        """Import ONNX Runtime; all its options belong to the session."""
        import_silent()

    def open(self, folder: Path) -> Session:
        """Open `model.onnx`.

        Raises:
            InputError: no `model.onnx` or no signature there, or their names differ.
            StepFailed: ONNX Runtime refuses the file, or has not the provider.
        """
        signature = read_signature(folder, MODEL)
        session = open_session(str(folder / MODEL), self.options())
        check_names(
            folder,
            signature,
            {each.name for each in session.get_inputs()},
            {each.name for each in session.get_outputs()},
        )
        return _OnnxSession(session, signature)


def import_silent() -> Any:
    """The module `onnxruntime`, imported so that it reports to nobody."""
    os.environ.update(SILENT)
    import onnxruntime

    return onnxruntime


def open_session(model: str | bytes, options: Mapping[str, Any]) -> Any:
    """An `onnxruntime.InferenceSession` with stored options.

    Args:
        model: path of the file, or its bytes.
        options: what `OnnxRuntime.options` returned, possibly read back from JSON.

    Raises:
        StepFailed: ONNX Runtime refuses the model or the options, or would compute elsewhere than it was asked to.
    """
    ort = import_silent()
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options["intra_op_num_threads"]
    settings.inter_op_num_threads = options["inter_op_num_threads"]
    settings.execution_mode = getattr(ort.ExecutionMode, options["execution_mode"])
    settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, options["graph_optimization_level"])
    settings.log_severity_level = 3
    for key, value in options["config_entries"].items():
        settings.add_session_config_entry(key, value)
    names = list(options["providers"])
    check_installed(ort, names[0])
    preload(ort, names)
    try:
        # Without `enable_fallback` a provider that fails is an error, when the session is made and in every later call.
        session = ort.InferenceSession(
            model,
            settings,
            providers=names,
            provider_options=list(options["provider_options"]),
            enable_fallback=0,
        )
    except Exception as error:  # the binding raises bare exceptions of a dozen unrelated classes
        name = model if isinstance(model, str) else "the model"
        raise StepFailed(f"ONNX Runtime {ort.__version__} cannot open {name}: {one_line(error)}") from error
    check_loaded(session, names[0])
    return session


class _OnnxSession:
    """See `tasks.runtimes.session.Session`."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self.signature = signature
        batches = {entry.shape[0] for entry in session.get_inputs() if entry.shape and isinstance(entry.shape[0], int)}
        self.fixed_batch = batches.pop() if batches else None
        self._outputs = list(signature.outputs)
        self._run = session.run

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One call; see the contract."""
        try:
            return dict(zip(self._outputs, self._run(self._outputs, inputs), strict=True))
        except Exception as error:  # as in open_session
            raise StepFailed(f"ONNX Runtime failed while running the model: {one_line(error)}") from error
