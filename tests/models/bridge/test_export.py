"""The ONNX form of a twin has the operators that the ONNX form of its model has."""

import keras
import numpy as np
import onnx

from tasks.models import saved_model
from tasks.models.bridge.walk import cross
from tasks.models.interface import describe
from tasks.models.onnx_export import ExportRequest, export
from tasks.models.twin import save_twin
from tests.models.bridge.families import randomize

L = keras.layers


def operators(folder, rows):
    out = folder / "onnx"
    out.mkdir()
    np.save(folder / "rows.npy", rows)
    export(ExportRequest(source=str(folder), inputs={"x": str(folder / "rows.npy")}, out=str(out)))
    return sorted(node.op_type for node in onnx.load(out / "model.onnx").graph.node)


def test_layer_normalization_is_one_operator_in_both(tmp_path):
    inputs = keras.Input((6, 8), name="x")
    x = L.LayerNormalization(name="first")(inputs)
    x = L.LayerNormalization(axis=[1, 2], name="both")(L.Dense(4, name="dense")(x))
    model = randomize(keras.Model(inputs, L.LayerNormalization(scale=False, center=False, name="plain")(x)))
    rows = np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32)
    for folder in ("model", "twin"):
        (tmp_path / folder).mkdir()
    saved_model.save(model, tmp_path / "model", {})
    save_twin(cross(model), describe(model).signature, tmp_path / "twin")

    found = operators(tmp_path / "twin", rows)

    assert found == operators(tmp_path / "model", rows)
    assert "LayerNormalization" in found and "BatchNormalization" not in found
