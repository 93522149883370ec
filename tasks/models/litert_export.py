"""The step from a SavedModel to LiteRT, the form of phones and small devices: TensorFlow's converter, then proof."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError, StepFailed
from tasks.models import onnx_parity, saved_model_run
from tasks.models.litert_file import MODEL_FILE, Interpreted
from tasks.models.onnx_export import EVIDENCE, ExportRequest, ExportResult
from tasks.models.onnx_parity import Parity
from tasks.models.rows import batches, count, match
from tasks.models.saved_model import ENDPOINT, SAVED_MODEL
from tasks.models.signature import Signature


def export(request: ExportRequest) -> ExportResult:
    """Convert, open, compare (a job: runs in a worker).

    Raises:
        InputError: SavedModel, signature and rows do not belong together.
        StepFailed: an operator has no LiteRT form, the file is refused, or its numbers are off.
    """
    source, out = Path(request.source), Path(request.out)
    signature = Signature.read(source)
    signature.write(out)
    path = out / MODEL_FILE
    path.write_bytes(_convert(source / SAVED_MODEL))
    parity = _prove_parity(request, signature, path)
    evidence = {
        "step": "litert_export",
        "parity": {name: figures.model_dump(mode="json") for name, figures in parity.items()},
    }
    (out / EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return ExportResult(size_bytes=path.stat().st_size, parity=parity, evidence=evidence)


def _convert(folder: Path) -> bytes:
    """The file's content; only LiteRT's own operators, because devices have no others."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[ENDPOINT])
    try:
        content: bytes = converter.convert()
    except Exception as error:  # the converter raises errors of its own and of MLIR's for one and the same reason
        raise StepFailed(
            f"LiteRT has no form for this model ({_culprits(str(error))}). Recurrent layers are among what it cannot "
            "convert with a free batch. Use targets with runtime: onnxruntime or tensorflow."
        ) from error
    return content


def _culprits(text: str) -> str:
    """The operators that the converter complains about, else the beginning of what it says."""
    listed = re.findall(r"(?:Select TF|Flex|Custom) ops: ([\w, ]+)", text)
    names = {name for line in listed for name in line.replace(" ", "").split(",") if name}
    names |= set(re.findall(r"'tf\.(\w+)' op", text))
    return ", ".join(sorted(names)) or " ".join(text.split())[:300]


def _prove_parity(request: ExportRequest, signature: Signature, path: Path) -> dict[str, Parity]:
    files = request.inputs.items()
    arrays = match({name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files}, signature)
    rows = min(request.parity_rows, count(arrays))
    if rows == 0:
        raise InputError("There are no rows to compare the LiteRT model with the reference on. Give at least one row.")
    expected = saved_model_run.run(Path(request.source) / SAVED_MODEL, arrays, signature, rows)
    parity = onnx_parity.compare(expected, _run(path, arrays, signature, rows))
    onnx_parity.refuse_difference(parity, onnx_parity.TOLERANCE, "LiteRT")
    return parity


def _run(path: Path, arrays: dict[str, Any], signature: Signature, rows: int) -> dict[str, Any]:
    """Outputs for the first rows, after one row alone, so that the free batch is exercised."""
    model = Interpreted(path, threads=1)
    model.run(next(iter(batches(arrays, signature, 1, 1))))
    parts = [model.run(feed) for feed in batches(arrays, signature, rows, saved_model_run.BATCH_SIZE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in signature.outputs}
