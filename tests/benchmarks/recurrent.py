"""`python -m tests.benchmarks.recurrent OUT`: a GRU of Keras 3 as a release exports it, and as a Loop."""

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}

import sys
from pathlib import Path
from typing import Any

from tasks.models import saved_model
from tasks.models.onnx_export import ExportRequest, export
from tasks.models.signature import Signature
from tests.benchmarks.calibrate import make_split

ROWS = 64


def main(out: str) -> None:
    """Write `float32` and `loop`, ONNX model folders, and `rows`, a split, into the folder OUT."""
    source = Path(out) / "reference"
    source.mkdir(parents=True)
    saved_model.save(build(), source)
    split = make_split(Path(out) / "rows", Signature.read(source), ROWS)
    for name in ("float32", "loop"):
        folder = Path(out) / name
        folder.mkdir()
        export(ExportRequest(source=str(source), inputs=split.input_files(), out=str(folder)))
        (source / saved_model.KERAS_FILE).unlink(missing_ok=True)  # without it there is no twin


def build() -> Any:
    """128 units, 50 steps of 64 values."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((50, 64)), keras.layers.GRU(128), keras.layers.Dense(3)])


if __name__ == "__main__":
    main(*sys.argv[1:])
