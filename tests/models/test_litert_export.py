"""A LiteRT file is the SavedModel: its names, its numbers, a free batch; what has no such form is refused by name."""

import json

import numpy as np
import pytest

from tasks.foundations.errors import StepFailed
from tasks.models import litert_export
from tasks.models.litert_file import Interpreted
from tasks.models.onnx_export import ExportRequest
from tasks.models.signature import Signature
from tests.models.onnx_zoo import MODELS, write_keras, write_module, write_rows

keras = pytest.importorskip("keras")


def run_export(source, split, out):
    out.mkdir(parents=True)
    return litert_export.export(ExportRequest(source=str(source), inputs=split.input_files(), out=str(out)))


@pytest.mark.parametrize("name", ["digits", "gelu", "transformer", "two_inputs", "free_length", "embedding"])
def test_an_architecture_gives_the_numbers_of_its_saved_model(name, tmp_path):
    keras.utils.set_random_seed(0)
    signature = write_keras(MODELS[name](), tmp_path / "source")
    split = write_rows(tmp_path / "split", signature)

    result = run_export(tmp_path / "source", split, tmp_path / "litert")

    model = Interpreted(tmp_path / "litert" / "model.tflite", threads=1)
    assert set(model.inputs) == set(signature.inputs) and set(model.outputs) == set(signature.outputs)
    assert model.fixed_batch is None
    assert Signature.read(tmp_path / "litert") == signature
    assert set(result.parity) == set(signature.outputs)
    assert all(0 < figures.rows == 48 and figures.max_abs <= 1e-5 * figures.scale for figures in result.parity.values())
    written = json.loads((tmp_path / "litert" / "evidence.json").read_text())
    assert written == result.evidence and written["step"] == "litert_export"


def test_a_model_without_such_a_form_is_refused_with_the_operator(tmp_path):
    signature = write_keras(MODELS["lstm"](), tmp_path / "source")
    split = write_rows(tmp_path / "split", signature)

    with pytest.raises(
        StepFailed, match=r"LiteRT has no form for this model \(TensorListReserve\).*runtime: onnxruntime"
    ):
        run_export(tmp_path / "source", split, tmp_path / "litert")


def test_an_operator_that_only_tensorflow_has_is_named(tmp_path):
    import tensorflow as tf

    signature = write_module(tmp_path / "source", lambda x: {"y": tf.math.igamma(x, x)}, x=(None, 3))
    split = write_rows(tmp_path / "split", signature)

    with pytest.raises(StepFailed, match=r"no form for this model \(\w*Igamma\w*\)"):
        run_export(tmp_path / "source", split, tmp_path / "litert")


def test_numbers_that_are_off_are_refused(tmp_path, monkeypatch):
    signature = write_keras(MODELS["digits"](), tmp_path / "source")
    split = write_rows(tmp_path / "split", signature)
    run = Interpreted.run
    monkeypatch.setattr(
        Interpreted, "run", lambda self, feed: {name: 1.01 * each + 0.01 for name, each in run(self, feed).items()}
    )

    with pytest.raises(StepFailed, match="of the LiteRT model differs from the reference by"):
        run_export(tmp_path / "source", split, tmp_path / "litert")


def test_batches_of_any_size_follow_each_other_and_a_wrong_one_leaves_the_model_usable(tmp_path):
    import tensorflow as tf

    signature = write_module(tmp_path / "source", lambda x: {"y": tf.nn.relu(x) @ (2 * tf.eye(3))}, x=(None, 3))
    run_export(tmp_path / "source", write_rows(tmp_path / "split", signature), tmp_path / "litert")
    model = Interpreted(tmp_path / "litert" / "model.tflite", threads=2)

    for rows in (1, 7, 2, 7):
        values = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        np.testing.assert_allclose(model.run({"x": values})["y"], 2 * np.maximum(values, 0), rtol=1e-6)
    for wrong in (np.zeros((1, 3), np.int64), np.zeros((7, 5), np.float32)):
        with pytest.raises(StepFailed, match="LiteRT failed while running the model"):
            model.run({"x": wrong})
    assert model.run({"x": np.ones((7, 3), np.float32)})["y"].tolist() == [[2, 2, 2]] * 7


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"not a model")

    with pytest.raises(StepFailed, match="LiteRT cannot open"):
        Interpreted(tmp_path / "model.tflite", threads=1)
