"""`python -m tests.benchmarks.published OUT`: MobileNetV2 as it was published, as float32 and int8 ONNX.

224 x 224 pixels and 1,000 classes; all weights are random, those of its batch norms too, so that folding leaves
biases as in a trained net. Neither time nor size depends on more than that.
"""

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.dataset import Split
from tasks.models import saved_model
from tasks.models.onnx_export import ExportRequest, export
from tasks.models.signature import Signature
from tasks.techniques.apply import CompressRequest, compress
from tests.benchmarks.calibrate import make_split

ROWS = 64


def main(out: str) -> None:
    """Write `float32` and `int8`, model folders, and `rows`, a split, into the folder OUT."""
    model, float32, int8 = (Path(out) / name for name in ("reference", "float32", "int8"))
    for folder in (model, float32, int8):
        folder.mkdir(parents=True)
    saved_model.save(build(), model)
    split = make_split(Path(out) / "rows", Signature.read(model), ROWS)
    export(ExportRequest(source=str(model), inputs=split.input_files(), out=str(float32)))
    technique = {"kind": "int8_static"}
    compress(CompressRequest(source=str(float32), technique=technique, calibration=split, out=str(int8)))


def build() -> Any:
    """The net, its statistics no longer those of an untrained one."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def rows_of(out: Path) -> Split:
    """The split that `main` has written."""
    (file,) = (out / "rows" / "inputs").iterdir()
    return Split(folder=str(out / "rows"), inputs=(file.stem,), rows=ROWS)


if __name__ == "__main__":
    main(*sys.argv[1:])
