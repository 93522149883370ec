"""Several models in one latency measurement, for sections that compare them."""

from collections.abc import Mapping
from pathlib import Path

from tasks.data.dataset import Split
from tasks.evaluation.assess import CONTROL, gather
from tasks.evaluation.latency import Estimate, Samples
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.samples import Contender, Effort, MeasureRequest, read_samples
from tasks.runtimes.timing import measure


def timed(models: Mapping[str, Path], split: Split, out: Path, rounds: int, batch: int = 1) -> Samples:
    """Models by name, `float32` among them, and its A/A control: one thread of ONNX Runtime.

    Args:
        models: name -> model folder.
        split: where the rows come from.
        out: a folder to be made.
        rounds: of fresh processes.
        batch: rows a call.
    """
    out.mkdir()
    folders = {**models, CONTROL: models["float32"]}
    result = measure(
        MeasureRequest(
            contenders=tuple(Contender(name=name, folder=str(folder)) for name, folder in folders.items()),
            target=OnnxRuntime(runtime="onnxruntime", threads=1, batch_size=batch),
            split=split,
            out=str(out),
            effort=Effort(rounds=rounds),
        )
    )
    return gather(result, read_samples(out), None)


def interval(estimate: Estimate) -> str:
    """`1.234 to 1.345`."""
    return "unknown" if estimate.interval is None else "{:.3f} to {:.3f}".format(*estimate.interval)
