"""Reading, writing, checking and opening one ONNX file; every step that writes one uses these functions.

Bytes are deterministic, so the same content has the same digest, and a file is only left behind if ONNX's checker
and ONNX Runtime both accept it.
"""

from pathlib import Path
from typing import Any

from tasks.foundations.errors import StepFailed

FILE = "model.onnx"
OPSET = 17
# ONNX Runtime reads newer ones, older targets do not; nothing that is written here needs more than 8.
IR_VERSION = 8
MAX_BYTES = 2_000_000_000
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def read(folder: Path) -> Any:
    """Load `model.onnx` of a folder as a ModelProto."""
    import onnx

    return onnx.load(str(folder / FILE))


def write(model: Any, folder: Path) -> Path:
    """Write `model.onnx` with deterministic bytes, without doc strings and metadata.

    Raises:
        StepFailed: larger than one protobuf file may be.
    """
    _strip(model)
    refuse_large(model.ByteSize(), "The ONNX model")
    path = folder / FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def refuse_large(size: int, what: str) -> None:
    """Refuse what does not fit into one protobuf file.

    Raises:
        StepFailed: `size` bytes are over the limit of 2 GB.
    """
    if size > MAX_BYTES:
        raise StepFailed(
            f"{what} has {size / 1e9:.1f} GB of weights; one ONNX file holds at most {MAX_BYTES / 1e9:.0f} GB and "
            "external data is not supported. Use a smaller model, or a target with `runtime: tensorflow`."
        )


def check(path: Path) -> None:
    """Run ONNX's full checker and open the file in ONNX Runtime.

    Raises:
        StepFailed: one of them refuses it; the message carries the reason.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StepFailed(f"ONNX's checker refuses the written model: {_first_line(error)}.") from error
    session(path)


def session(path: Path | bytes, level: str = "all", outputs: Path | None = None) -> Any:
    """Open an InferenceSession on one thread, so that sums and with them all figures come out the same each time.

    Args:
        path: the file, or a serialized model.
        level: how far ONNX Runtime optimizes the graph: `off`, `basic` or `all`.
        outputs: where ONNX Runtime writes the optimized graph, if anywhere.

    Raises:
        StepFailed: ONNX Runtime cannot run the model.
    """
    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = {
        "off": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "all": levels.ORT_ENABLE_ALL,
    }[level]
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if outputs is not None:
        options.optimized_model_filepath = str(outputs)
    source = path if isinstance(path, bytes) else str(path)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        raise StepFailed(f"ONNX Runtime cannot open the model: {_first_line(error)}.") from error


def _runtime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        RuntimeError,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")[:400]


def _strip(model: Any) -> None:
    """Drop everything that says when or by what the file was written."""
    for field in ("producer_name", "producer_version", "domain", "doc_string", "metadata_props"):
        model.ClearField(field)
    model.graph.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.graph.name = "model"
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    model.ir_version = IR_VERSION
