"""The step from the reference, a SavedModel, to its float32 ONNX form, which every ONNX-level technique starts from."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.models import onnx_file, onnx_parity, saved_model_run
from tasks.models.onnx_graph import computes_in_half, walk
from tasks.models.onnx_parity import Parity
from tasks.models.onnx_recurrent import loops, of_twin
from tasks.models.rows import count, match, take
from tasks.models.saved_model import SAVED_MODEL
from tasks.models.saved_model_run import BATCH_SIZE
from tasks.models.signature import Signature

EVIDENCE = "evidence.json"

Array = np.ndarray[Any, Any]


class ExportRequest(Record):
    """What to convert, and the rows that prove it.

    Attributes:
        source: model folder with `saved_model/` and `signature.json`.
        inputs: input name -> absolute path of its `.npy`, (rows, ...): `Split.input_files()`.
        out: empty folder for `model.onnx`, `signature.json` and `evidence.json`.
        parity_rows: how many of the rows are compared.
    """

    source: str
    inputs: dict[str, str]
    out: str
    parity_rows: int = Field(default=256, ge=1)


class ExportResult(Record):
    """Figures of a finished conversion.

    Attributes:
        size_bytes: size of `model.onnx`.
        parity: output name -> difference to the SavedModel.
        evidence: the content of `evidence.json`.
    """

    size_bytes: int
    parity: dict[str, Parity]
    evidence: dict[str, Any]


def export(request: ExportRequest) -> ExportResult:
    """Convert, clean, check, open, compare (a job: runs in a worker).

    Raises:
        InputError: SavedModel, signature and rows do not belong together.
        StepFailed: an operator has no ONNX form, the file is refused, or its numbers are off.
    """
    from tasks.models.onnx_convert import convert

    source, out = Path(request.source), Path(request.out)
    signature = Signature.read(source)
    signature.write(out)
    model = convert(source / SAVED_MODEL, signature)
    proved = _proved_twin(request, signature, loops(model))
    path, parity = proved or _proved(request, signature, model)
    evidence = {
        "step": "onnx_export",
        "converted": "twin" if proved else SAVED_MODEL,
        "opset": onnx_file.OPSET,
        "ir_version": onnx_file.IR_VERSION,
        "operators": _operators(path),
        "parity": {name: figures.model_dump(mode="json") for name, figures in parity.items()},
    }
    (out / EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return ExportResult(size_bytes=path.stat().st_size, parity=parity, evidence=evidence)


def _proved_twin(request: ExportRequest, signature: Signature, most: int) -> tuple[Path, dict[str, Parity]] | None:
    """The form through the twin where that has fewer Loops and computes the same; else the model's own remains."""
    with suppress(InputError, StepFailed):
        model = of_twin(Path(request.source), signature, most) if most else None
        return None if model is None else _proved(request, signature, model)
    return None


def _proved(request: ExportRequest, signature: Signature, model: Any) -> tuple[Path, dict[str, Parity]]:
    path = _write(model, signature, Path(request.out))
    return path, _prove_parity(request, signature, path)


def _write(model: Any, signature: Signature, out: Path) -> Path:
    from tasks.models.onnx_clean import clean
    from tasks.models.onnx_normal import normalize, order

    order(model.graph)
    clean(model)
    normalize(model, signature)
    path = onnx_file.write(model, out)
    onnx_file.check(path)
    return path


def _prove_parity(request: ExportRequest, signature: Signature, path: Path) -> dict[str, Parity]:
    files = request.inputs.items()
    arrays = match({name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files}, signature)
    rows = min(request.parity_rows, count(arrays))
    if rows == 0:
        raise InputError("There are no rows to compare the ONNX model with the reference on. Give at least one row.")
    parity = onnx_parity.compare(
        saved_model_run.run(Path(request.source) / SAVED_MODEL, arrays, signature, rows),
        run(path, arrays, signature, rows),
    )
    half = computes_in_half(onnx_file.read(path.parent).graph)
    onnx_parity.refuse_difference(parity, onnx_parity.HALF_TOLERANCE if half else onnx_parity.TOLERANCE)
    return parity


def run(path: Path, arrays: Mapping[str, Array], signature: Signature, rows: int) -> dict[str, Array]:
    """Outputs of an ONNX file for the first `rows` rows; the first row alone, so that the free batch is exercised."""
    session = onnx_file.session(path)
    names = list(signature.outputs)
    first = session.run(names, take(arrays, signature, slice(0, 1)))
    parts = [first]
    for start in range(1, rows, BATCH_SIZE):
        feed = take(arrays, signature, slice(start, min(start + BATCH_SIZE, rows)))
        parts.append(session.run(names, feed))
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}


def _operators(path: Path) -> dict[str, int]:
    from collections import Counter

    counted = Counter(node.op_type for node in walk(onnx_file.read(path.parent).graph))
    return dict(sorted(counted.items()))
