"""The job that runs one model over one split and leaves its outputs as arrays that any machine can judge.

What crosses machines is predictions: metrics are computed from them wherever the labels are.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tasks.data.dataset import Split
from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.runtimes.rows import predict_rows
from tasks.runtimes.session import Array, as_runtime
from tasks.runtimes.target import Target


class PredictRequest(Record):
    """One model, one target, one split.

    Attributes:
        folder: absolute path of the model folder, in the form that the target's runtime opens.
        out: absolute path of an empty folder.
        target: a choice of tasks/runtimes.
        split: the rows.
        batch_size: rows of one call where it should differ from the target's; outputs do not depend on it beyond
            rounding, and a larger one is faster.
    """

    folder: str
    out: str
    target: Target
    split: Split
    batch_size: int | None = Field(default=None, ge=1)


class PredictResult(Record):
    """What was written.

    Attributes:
        rows: rows in every file.
        outputs: output name -> (dtype, shape of one row).
    """

    rows: int
    outputs: dict[str, tuple[str, tuple[int, ...]]]


def predict(request: PredictRequest) -> PredictResult:
    """Write `<output>.npy` for every output into `out`, one row a row of the split, in order.

    Memory holds one batch: inputs are memory-mapped, outputs are written through a memory map.

    Raises:
        InputError: the split has no rows, or does not fit the model.
        StepFailed: the runtime refuses the model, or an output cannot be stored as one row a row.
    """
    if request.split.rows == 0:
        raise InputError(f"{request.split.folder} has no rows: nothing to predict.")
    runtime = as_runtime(request.target)
    session = runtime.open(Path(request.folder))
    files: dict[str, np.memmap[Any, Any]] = {}
    batches = predict_rows(session, request.split.input_arrays(), request.batch_size or runtime.batch_size)
    for start, outputs in batches:
        for name, output in outputs.items():
            if name not in files:
                files[name] = _create(Path(request.out) / f"{name}.npy", name, output, request.split.rows)
            _write(files[name], name, output, start)
    for file in files.values():
        file.flush()
    return PredictResult(
        rows=request.split.rows, outputs={name: (str(file.dtype), file.shape[1:]) for name, file in files.items()}
    )


def _create(path: Path, name: str, output: Array, rows: int) -> np.memmap[Any, Any]:
    if output.dtype.kind not in "biufc":
        raise StepFailed(f"Output {name!r} is {output.dtype}: only numbers can be compared. Export the scores instead.")
    file: np.memmap[Any, Any] = np.lib.format.open_memmap(
        path, mode="w+", dtype=output.dtype, shape=(rows, *output.shape[1:])
    )
    return file


def _write(file: np.memmap[Any, Any], name: str, output: Array, start: int) -> None:
    if output.shape[1:] != file.shape[1:]:
        raise StepFailed(
            f"Output {name!r} has rows of shape {output.shape[1:]} at row {start} and {file.shape[1:]} before: "
            "rows of different shapes cannot be compared."
        )
    file[start : start + len(output)] = output
