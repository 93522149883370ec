"""A GRU of Keras 3 becomes ONNX's operator wherever its twin's does, and stays the model's own Loop elsewhere."""

import json
from collections import Counter

import onnx
import pytest

from tasks.models import saved_model
from tasks.models.interface import describe
from tasks.models.onnx_graph import walk
from tests.models.onnx_zoo import run_export, write_rows

keras = pytest.importorskip("keras")
L = keras.layers


@keras.saving.register_keras_serializable("test")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def exported(folder, *layers):
    """(operators in all graphs, evidence) of a net's ONNX form, which `export` has proved on rows."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 6)), *layers, L.Dense(2)])
    (folder / "m").mkdir()
    saved_model.save(model, folder / "m")
    run_export(folder / "m", write_rows(folder / "s", describe(model).signature), folder / "o")
    graph = onnx.load(folder / "o" / "model.onnx").graph
    evidence = json.loads((folder / "o" / "evidence.json").read_text())
    return Counter(node.op_type for node in walk(graph)), evidence


def test_a_gru_becomes_onnx_own_operator_through_the_twin_one_way_and_both_ways(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    layers = [L.GRU(4, return_sequences=True), L.Bidirectional(L.GRU(4, return_sequences=True))]
    operators, evidence = exported(tmp_path, *layers, L.GRU(3, go_backwards=True))
    assert operators["GRU"] == 3 and not operators["Loop"]
    assert evidence["converted"] == "twin"
    assert not list(scratch.glob("slipway-*"))


def test_a_twin_that_computes_something_else_does_not_cost_the_release(tmp_path, monkeypatch):
    from tasks.models.bridge import walk as walker

    def wrong(model):
        twin = cross(model)
        twin.set_weights([weight + 0.5 for weight in twin.get_weights()])
        return twin

    cross = walker.cross
    monkeypatch.setattr(walker, "cross", wrong)
    operators, evidence = exported(tmp_path, L.GRU(4))
    assert evidence["converted"] == "saved_model" and operators["Loop"] == 1


def test_what_the_twin_cannot_do_better_stays_as_the_model_has_it(tmp_path):
    cases = {
        "mask": [L.Masking(), L.GRU(4)],
        "own": [Doubled(), L.GRU(4)],
        "lstm": [L.LSTM(4)],
    }
    for name, layers in cases.items():
        (tmp_path / name).mkdir()
        operators, evidence = exported(tmp_path / name, *layers)
        assert evidence["converted"] == "saved_model", name
        assert operators["Loop"] == (0 if name == "lstm" else 1) and not operators["GRU"], name
