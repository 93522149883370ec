"""What lies on disk answers as the model in memory does, by the names of its signature, in inference mode."""

import json

import numpy as np
import pytest

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.interface import describe
from tasks.models.saved_model import open_keras, save
from tasks.models.signature import Signature

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
L = keras.layers


@keras.saving.register_keras_serializable("tests")
class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(3)

    def call(self, x, training=False):
        return self.dense(x)


def sequential():
    return keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(4, 3), L.BatchNormalization(), L.Dropout(0.5),
                             L.Flatten(), L.Dense(3)])  # fmt: skip


def several():
    a, b = keras.Input((4,)), keras.Input((2,), name="b")
    return keras.Model([a, b], [L.Dense(1)(a), L.Dense(2, name="logits")(L.Concatenate()([a, b])), a])


def keyed():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b", dtype="int32")
    joined = L.Concatenate()([a, L.Flatten()(L.Embedding(5, 3)(b))])
    return keras.Model({"y": b, "x": a}, {"two": L.Dense(2)(joined), "one": L.Dense(1)(a)})


def subclassed():
    model = Net()
    model(np.zeros((1, 4), "float32"))
    return model


def text():
    words = keras.Input((1,), dtype="string", name="words")
    lookup = L.StringLookup(vocabulary=["a", "b"])
    return keras.Model(words, L.Dense(2)(L.Flatten()(L.Embedding(3, 2)(lookup(words)))))


def rows(spec, count):
    rng = np.random.default_rng(0)
    shape = (count, *(size or 5 for size in spec.shape[1:]))
    if spec.dtype == "str":
        return rng.choice(["a", "b", "c"], shape)
    return rng.integers(0, 3, shape).astype(spec.dtype) if "int" in spec.dtype else rng.random(shape, "float32")


@pytest.mark.parametrize("build", [sequential, several, keyed, subclassed, text])
def test_the_saved_model_answers_by_name_as_the_model_does(tmp_path, build):
    model = build()
    save(model, tmp_path, {"epochs": 0})
    signature = Signature.read(tmp_path)
    assert signature == describe(model).signature
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    for count in (1, 7):
        named = {name: tf.constant(rows(spec, count)) for name, spec in signature.inputs.items()}
        answers, wanted = served(**named), describe(model).call(model, named)
        assert set(answers) == set(signature.outputs)
        for name, spec in signature.outputs.items():
            np.testing.assert_allclose(answers[name], wanted[name], atol=1e-6)
            assert answers[name].shape[1:] == tuple(spec.shape[1:])
    assert served.structured_input_signature[1].keys() == signature.inputs.keys()


@pytest.mark.parametrize("build", [sequential, several, keyed, subclassed])
def test_the_keras_file_can_be_trained_again_and_answers_the_same(tmp_path, build):
    model = build()
    save(model, tmp_path, {})
    again = open_keras(tmp_path)
    named = {name: rows(spec, 3) for name, spec in describe(model).signature.inputs.items()}
    if build is subclassed:
        again(named["input"])
    first, second = describe(model).call(model, named), describe(again).call(again, named)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert again.trainable_weights


def test_every_weight_is_written_once(tmp_path):
    model = sequential()
    save(model, tmp_path, {})
    listed = tf.train.list_variables(str(tmp_path / "saved_model" / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in listed if name != "_CHECKPOINTABLE_OBJECT_GRAPH")
    assert shapes == sorted(tuple(weight.shape) for weight in model.weights)


def test_neither_optimizer_nor_the_users_loss_is_written(tmp_path):
    def my_loss(y, p):
        return keras.ops.mean((y - p) ** 2)

    model = keras.Sequential([keras.Input((4,)), L.Dense(200), L.Dense(1)])
    (tmp_path / "before").mkdir()
    save(model, tmp_path / "before", {})
    model.compile("adam", my_loss)
    model.fit(np.ones((2, 4)), np.ones(2), verbose=0)
    (tmp_path / "after").mkdir()
    save(model, tmp_path / "after", {"history": {"loss": [1.0]}})
    sizes = [(tmp_path / part / "model.keras").stat().st_size for part in ("before", "after")]
    assert abs(sizes[1] - sizes[0]) < 2000
    assert model.optimizer is not None and model.compiled
    open_keras(tmp_path / "after")
    assert json.loads((tmp_path / "after" / "training.json").read_text()) == {"history": {"loss": [1.0]}}


def test_a_layer_without_a_configuration_is_named(tmp_path):
    class Odd(L.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function
            self.dense = L.Dense(2)

        def get_config(self):
            raise NotImplementedError("Odd has no get_config")

        def call(self, x):
            return self.dense(self.function(x))

    model = keras.Sequential([keras.Input((4,)), Odd(keras.ops.relu)])
    with pytest.raises(StepFailed, match="cannot be written as a Keras file.*Odd has no get_config"):
        save(model, tmp_path, {})


def test_a_model_of_unknown_classes_is_not_opened(tmp_path):
    model = keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2), L.Dense(1)])
    save(model, tmp_path, {})
    with pytest.raises(InputError, match=r"model.keras cannot be opened again"):
        open_keras(tmp_path)
