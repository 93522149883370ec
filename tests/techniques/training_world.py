"""Tiny tf_keras models, trained on real digits, and a real `legacy` worker that techniques run in."""

import numpy as np
from sklearn.datasets import load_digits

from tasks.data.dataset import Split
from tasks.foundations.record import Record
from tasks.models.output import Meaning
from tasks.training.config import TrainingConfig
from tasks.training.fit import FitSettings


class MakeRequest(Record):
    """Where the model goes, what it is, and what it learns from."""

    out: str
    family: str
    train: Split


class Made(Record):
    """How well it has learnt."""

    layers: tuple[str, ...]


def make(request: MakeRequest) -> Made:
    """Write one of the families (a job), trained where a test needs what it has learnt."""
    from pathlib import Path

    import tf_keras

    from tasks.models.interface import describe
    from tasks.models.twin import save_twin

    tf_keras.utils.set_random_seed(0)
    model = FAMILIES[request.family](tf_keras.layers, tf_keras.Model)
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = request.train.input_arrays()["x"]
    if request.family in TRAINED:
        model.fit(np.array(inputs), np.array(request.train.labels()), epochs=3, batch_size=64, verbose=0)
    save_twin(model, describe(model).signature, Path(request.out))
    return Made(layers=tuple(layer.name for layer in model.layers))


def convolutions(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(8, 3, name="separable")(x)
    x = layers.Conv2DTranspose(4, 3, name="transposed")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return model(image, layers.Dense(10, name="scores")(x))


def faint(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(layers.Rescaling(1e-3, name="scale")(image))
    x = layers.ReLU(name="relu")(layers.BatchNormalization(momentum=0.9, epsilon=1e-9, name="norm")(x))
    return model(image, layers.Dense(10, name="scores")(layers.Flatten(name="flatten")(x)))


def sequence(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.Conv1D(10, 8, name="scores")(layers.Reshape((8, 8), name="rows")(image))
    return model(image, layers.Flatten(name="flatten")(x))


def tiny(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.GlobalAveragePooling2D(name="mean")(image)
    return model(image, layers.Dense(10, name="scores")(x))


def attention(layers, model):
    from tasks.models.bridge.registered import MultiHeadAttention

    image = layers.Input((8, 8, 1), name="x")
    x = layers.Reshape((8, 8), name="rows")(image)
    x = layers.LSTM(12, return_sequences=True, name="lstm")(x)
    x = MultiHeadAttention(2, 6, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return model(image, layers.Dense(10, name="scores")(x))


def half(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.Flatten(name="flatten")(image)
    return model(image, layers.Dense(10, dtype="mixed_float16", name="scores")(x))


def bare(layers, model):
    image = layers.Input((8, 8, 1), name="x")
    x = layers.DepthwiseConv2D(3, depth_multiplier=10, name="depthwise")(image)
    return model(image, layers.GlobalAveragePooling2D(name="scores")(x))


FAMILIES = {
    "attention": attention,
    "bare": bare,
    "half": half,
    "convolutions": convolutions,
    "faint": faint,
    "sequence": sequence,
    "tiny": tiny,
}
TRAINED = ("convolutions", "faint")


def digits(folder):
    """Splits of 1,000 and 200 scans."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    return {
        name: write(folder / name, images[rows], labels[rows])
        for name, rows in {"train": slice(0, 1000), "validation": slice(1000, 1200)}.items()
    }


def write(folder, images, labels):
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", images)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    return Split(folder=str(folder), inputs=("x",), rows=len(images))


def settings(**training):
    chosen = {"loss": "sparse_categorical_crossentropy", "epochs": 2, "batch_size": 64, **training}
    return FitSettings(
        training=TrainingConfig(**chosen), meaning=Meaning(kind="classification", output="logits"), seed=0, folder="/"
    )
