import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.foundations.errors import InputError, NotApplicable, ProofFailed, StepFailed
from tasks.models import saved_model, twin
from tasks.models.bridge import layers
from tasks.models.bridge.job import BridgeRequest, bridge
from tasks.models.interface import describe
from tasks.models.onnx_convert import convert
from tasks.models.onnx_graph import walk
from tasks.models.onnx_parity import HALF_TOLERANCE
from tasks.models.signature import Signature, TensorSpec
from tests.models.bridge.families import FAMILIES, randomize, rows, sequential

L = keras.layers


def write(model, folder, count=40):
    """A model folder and the rows of it, as the steps before the bridge leave them."""
    source = folder / "source"
    source.mkdir()
    saved_model.save(model, source, {})
    names = describe(model).signature.inputs
    inputs = {}
    for name, array in zip(names, rows(model, count), strict=True):
        inputs[name] = str(folder / f"{name}.npy")
        np.save(inputs[name], array)
    (folder / "out").mkdir()
    return BridgeRequest(source=str(source), inputs=inputs, out=str(folder / "out"))


@pytest.mark.parametrize("family", ["shared_tower", "nested", "operators", "half", "transformer"])
def test_the_folder_of_a_twin_has_the_names_and_numbers_of_its_source(tmp_path, family):
    model = randomize(FAMILIES[family]())
    request = write(model, tmp_path)
    result = bridge(request)
    out, signature = tmp_path / "out", Signature.read(tmp_path / "source")
    assert sorted(path.name for path in out.iterdir()) == [
        "evidence.json",
        "saved_model",
        "signature.json",
        "twin.keras",
    ]
    assert Signature.read(out) == signature
    assert result.parity.keys() == signature.outputs.keys()
    assert all(each.rows == 41 for each in result.parity.values())
    assert json.loads((out / "evidence.json").read_text()) == result.evidence
    assert result.evidence["count"] == result.layers == len(twin.open_twin(out).layers)
    feed = {name: tf.constant(np.load(file)[:3]) for name, file in request.inputs.items()}
    served = tf.saved_model.load(str(out / "saved_model")).signatures["serving_default"](**feed)
    wanted = describe(model).call(model, feed)
    assert served.keys() == wanted.keys()
    for name, array in wanted.items():
        array = np.asarray(array, "float32")
        np.testing.assert_allclose(
            served[name], array, atol=(HALF_TOLERANCE if family == "half" else 1e-5) * max(1, abs(array).max())
        )


def operators(folder, signature):
    return sum(1 for _ in walk(convert(folder / "saved_model", signature).graph))


def test_attention_becomes_no_more_operators_than_that_of_keras_3(tmp_path):
    x = inputs = keras.Input((6, 8))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
    model = randomize(keras.Model(inputs, L.Dense(3)(x)))
    request = write(model, tmp_path)
    bridge(request)
    signature = describe(model).signature
    assert operators(Path(request.out), signature) <= operators(Path(request.source), signature)


def small():
    return randomize(sequential(L.Dense(3, activation="relu"), L.BatchNormalization(), L.Dense(2), shape=(4,)))


def test_a_twin_with_other_weights_is_caught_with_the_figures(tmp_path, monkeypatch):
    def corrupt(pairs):
        right(pairs)
        for layer, crossed in pairs:
            if layer.name.startswith("dense"):
                crossed.set_weights([weight + 1e-3 for weight in crossed.get_weights()])

    right = layers.copy
    monkeypatch.setattr(layers, "copy", corrupt)
    with pytest.raises(ProofFailed, match=r"'output' of the tf_keras twin differs .* by 0.\d+ .*on 41 rows; allowed"):
        bridge(write(small(), tmp_path))
    assert not list((tmp_path / "out").iterdir())


def test_a_difference_on_the_last_rows_alone_is_caught(tmp_path, monkeypatch):
    from tasks.models.bridge import activations

    model = sequential(L.Dense(2, activation="hard_sigmoid"), shape=(2,))
    model.set_weights([np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    request = write(model, tmp_path, count=40)
    values = np.zeros((40, 2), "float32")
    values[-1] = 2.0  # at zero all definitions agree
    np.save(request.inputs["input"], values)
    monkeypatch.setattr(activations, "SAME", activations.SAME | {"hard_sigmoid"})
    with pytest.raises(ProofFailed):
        bridge(request)


def test_weights_of_other_shapes_are_named(tmp_path):
    dense, crossed = L.Dense(2), layers.twin_of(sequential(L.Dense(3), shape=(4,)).layers[0], "d")
    dense.build((None, 4))
    crossed.layer.build((None, 4))
    with pytest.raises(StepFailed, match=r"Dense 'dense\w*' has weights of the shapes .*\(4, 2\).*\(4, 3\)"):
        layers.copy(((dense, crossed.layer),))


def test_one_row_is_enough_and_none_is_not(tmp_path):
    request = write(small(), tmp_path, count=1)
    assert bridge(request).parity["output"].rows == 2
    np.save(request.inputs["input"], np.zeros((0, 4), "float32"))
    with pytest.raises(InputError, match="Give at least one row"):
        bridge(request)


@keras.saving.register_keras_serializable(package="mine")
class Mine(L.Layer):
    def call(self, x):
        return x + 1


@keras.saving.register_keras_serializable(package="mine")
def doubled(x):
    return 2 * x


@keras.saving.register_keras_serializable(package="mine")
class Net(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_what_the_user_registered_is_named_at_once(tmp_path):
    inner = sequential(Mine(name="inside"), L.Dense(4, activation=doubled), shape=(4,))
    model = sequential(Mine(name="special"), inner, L.Lambda(lambda x: x + 1, name="free"), L.Dense(2), shape=(4,))
    request = write(model, tmp_path)
    with pytest.raises(NotApplicable, match="Lambda 'free': its function") as caught:
        bridge(request)
    for words in ("Mine 'special', 'inside': mine>Mine is not of Keras itself", "function 'mine>doubled'", "4 layers"):
        assert words in str(caught.value)


def test_a_registered_subclassed_model_is_named(tmp_path):
    net = Net()
    net(np.zeros((1, 4), "float32"))
    source = tmp_path / "source"
    source.mkdir()
    saved_model.save(net, source, {})
    with pytest.raises(NotApplicable, match="Net '': mine>Net is not of Keras itself"):
        bridge(BridgeRequest(source=str(source), inputs={}, out=str(tmp_path)))


def test_a_fine_tuned_twin_is_saved_again_under_the_same_names(tmp_path):
    bridge(write(small(), tmp_path))
    model = twin.open_twin(tmp_path / "out")
    assert model.optimizer is None
    model.compile("adam", "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    (tmp_path / "again").mkdir()
    twin.save_twin(model, Signature.read(tmp_path / "out"), tmp_path / "again")
    assert model.optimizer is not None
    again = twin.open_twin(tmp_path / "again")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert Signature.read(tmp_path / "again") == Signature.read(tmp_path / "out")


def test_a_twin_with_other_tensors_than_the_signature_is_not_saved(tmp_path):
    bridge(write(small(), tmp_path))
    signature = Signature.read(tmp_path / "out")
    more = signature.model_copy(
        update={"outputs": {**signature.outputs, "b": TensorSpec(dtype="float32", shape=(None,))}}
    )
    with pytest.raises(StepFailed, match=r"the outputs .* float32\[None, 2\], the signature has output .*, b float32"):
        twin.save_twin(twin.open_twin(tmp_path / "out"), more, tmp_path)
