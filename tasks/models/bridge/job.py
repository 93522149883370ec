"""The step from the reference to the trainable form, on which training techniques start: crossed once, and proven."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models import rows, saved_model, twin
from tasks.models.bridge.foreign import refuse_foreign
from tasks.models.bridge.verify import tolerance_of, verify
from tasks.models.onnx_parity import Parity
from tasks.models.signature import Signature

EVIDENCE = "evidence.json"


class BridgeRequest(Record):
    """What to cross, and the rows that prove it.

    Attributes:
        source: model folder with `model.keras` and `signature.json`.
        inputs: input name -> absolute path of its `.npy`, (rows, ...): `Split.input_files()`.
        out: empty folder for `twin.keras`, `saved_model/`, `signature.json` and `evidence.json`.
        rows: how many of the rows are compared.
    """

    source: str
    inputs: dict[str, str]
    out: str
    rows: int = Field(default=128, ge=1)


class BridgeResult(Record):
    """Figures of a finished crossing.

    Attributes:
        layers: number of layers of the twin.
        parity: output name -> difference to the Keras model.
        evidence: the content of `evidence.json`.
    """

    layers: int
    parity: dict[str, Parity]
    evidence: dict[str, Any]


def bridge(request: BridgeRequest) -> BridgeResult:
    """Cross, prove, write (a job: runs in a `legacy` worker).

    Raises:
        InputError: the model cannot be opened, or model and rows do not belong together.
        NotApplicable: layers without twin; the message names all of them.
        ProofFailed: the twin computes something else.
        StepFailed: the layers do not fit together in tf_keras.
    """
    from tasks.models.bridge.walk import cross

    source, out = Path(request.source), Path(request.out)
    signature = Signature.read(source)
    refuse_foreign(source / saved_model.KERAS_FILE)
    model = saved_model.open_keras(source)
    crossed = cross(model)
    arrays = rows.match(
        {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in request.inputs.items()}, signature
    )
    compared = min(request.rows, rows.count(arrays))
    if compared == 0:
        raise InputError("There are no rows to compare the twin with the Keras model on. Give at least one row.")
    parity = verify(model, crossed, signature, partial(rows.take, arrays, signature), compared)
    twin.save_twin(crossed, signature, out)
    evidence = _evidence(crossed, parity, tolerance_of(model))
    (out / EVIDENCE).write_text(json.dumps(evidence, indent=2, sort_keys=True))
    return BridgeResult(layers=len(crossed.layers), parity=parity, evidence=evidence)


def _evidence(crossed: Any, parity: dict[str, Parity], tolerance: float) -> dict[str, Any]:
    kinds = Counter(type(layer).__name__ for layer in crossed.layers)
    return {
        "step": "bridge",
        "count": len(crossed.layers),
        "layers": dict(sorted(kinds.items())),
        "tolerance": tolerance,
        "parity": {name: figures.model_dump(mode="json") for name, figures in parity.items()},
    }
