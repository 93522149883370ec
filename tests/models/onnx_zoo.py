"""Tiny models of the architectures that conversion and techniques treat differently, exported once a test process."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.models.interface import describe
from tasks.models.onnx_export import ExportRequest, ExportResult, export
from tasks.models.saved_model import write_saved_model
from tasks.models.signature import Signature, TensorSpec

ROWS = 48


@dataclass(frozen=True)
class Example:
    source: Path
    onnx: Path
    split: Split
    result: ExportResult


def digits():
    import keras

    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(8, 3, padding="same", bias_initializer="random_normal"),
        layers.BatchNormalization(gamma_initializer="random_normal", moving_mean_initializer="random_normal"),
        layers.ReLU(), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(16, activation="relu", bias_initializer="random_normal"), layers.Dense(4),
    ])  # fmt: skip


def gelu():
    import keras

    return keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="gelu"), keras.layers.Dense(4)])


def transformer():
    import keras

    layers = keras.layers
    inputs = keras.Input((6, 8))
    attended = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = layers.LayerNormalization(gamma_initializer="random_normal", beta_initializer="random_normal")(
        inputs + attended
    )
    x = layers.LayerNormalization(center=False)(x + layers.Dense(8)(layers.Dense(16, activation="gelu")(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def lstm():
    import keras

    return keras.Sequential([keras.Input((5, 6)), keras.layers.LSTM(8), keras.layers.Dense(2)])


def gru():
    import keras

    return keras.Sequential([keras.Input((5, 6)), keras.layers.GRU(4), keras.layers.Dense(2)])


def two_inputs():
    import keras

    layers = keras.layers
    b, a = keras.Input((3,), name="b"), keras.Input((4,), name="a")
    hidden = layers.Dense(8, activation="relu")(layers.Concatenate()([a, b]))
    outputs = {"z": layers.Dense(2, name="z")(hidden), "y": layers.Dense(1, name="y")(hidden)}
    return keras.Model({"b": b, "a": a}, outputs)


def free_length():
    import keras

    layers = keras.layers
    inputs = keras.Input((None, 8))
    return keras.Model(inputs, layers.Dense(3, name="tokens")(layers.Dense(8, activation="relu")(inputs)))


def embedding():
    import keras

    layers = keras.layers
    inputs = keras.Input((4,), dtype="int32")
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(layers.Embedding(11, 3)(inputs)))


MODELS = {
    "digits": digits, "gelu": gelu, "transformer": transformer, "lstm": lstm, "gru": gru, "two_inputs": two_inputs,
    "free_length": free_length, "embedding": embedding,
}  # fmt: skip


def write_rows(folder, signature, rows=ROWS, seed=0, scale=1.0):
    generator = np.random.default_rng(seed)
    (folder / "inputs").mkdir(parents=True)
    for name, spec in signature.inputs.items():
        shape = (rows, *[7 if size is None else size for size in spec.shape[1:]])
        whole = spec.dtype.startswith("int")
        values = generator.integers(0, 11, shape) if whole else scale * generator.normal(size=shape)
        np.save(folder / "inputs" / f"{name}.npy", values.astype(spec.dtype))
    return Split(folder=str(folder), inputs=tuple(signature.inputs), rows=rows)


def write_keras(model, folder):
    interface = describe(model)
    folder.mkdir(parents=True)
    write_saved_model(model, interface, folder / "saved_model")
    interface.signature.write(folder)
    return interface.signature


def write_module(folder, function, tracked=None, **shapes):
    """A SavedModel of one TensorFlow function of float32 inputs, by keyword, that returns {name: tensor}."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}
    module = tf.Module()
    module.tracked = tracked
    module.serve = tf.function(function, autograph=False)
    concrete = module.serve.get_concrete_function(**specs)
    folder.mkdir(parents=True)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"serving_default": concrete})
    signature = Signature(
        inputs={name: TensorSpec(dtype="float32", shape=tuple(shape)) for name, shape in shapes.items()},
        outputs={
            name: TensorSpec(dtype=tensor.dtype.name, shape=tuple(tensor.shape.as_list()))
            for name, tensor in concrete.structured_outputs.items()
        },
    )
    signature.write(folder)
    return signature


def run_export(source, split, out):
    out.mkdir(parents=True)
    return export(ExportRequest(source=str(source), inputs=split.input_files(), out=str(out)))


_made: dict[str, Example] = {}


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """Name of a model -> its folders, made at the first call."""

    def make(name):
        if name not in _made:
            import keras

            keras.utils.set_random_seed(0)
            home = tmp_path_factory.mktemp(name)
            signature = write_keras(MODELS[name](), home / "source")
            split = write_rows(home / "split", signature)
            result = run_export(home / "source", split, home / "onnx")
            _made[name] = Example(home / "source", home / "onnx", split, result)
        return _made[name]

    return make
