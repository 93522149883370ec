"""Small pictures with a class, a yes or no, and an embedding that nobody labels: a model of three outputs."""

import keras
import numpy as np


def build() -> keras.Model:
    return net(8)


def build_student() -> keras.Model:
    return net(4)


def net(units: int) -> keras.Model:
    image = keras.Input((6, 6, 1), name="image")
    x = keras.layers.Conv2D(units, 3, activation="relu", name="conv")(image)
    x = keras.layers.Dense(2 * units, activation="relu", name="body")(keras.layers.Flatten()(x))
    outputs = {name: keras.layers.Dense(size, name=name) for name, size in (("code", 3), ("kind", 4), ("odd", 1))}
    return keras.Model(image, {name: layer(x) for name, layer in outputs.items()})


def load() -> dict:
    generator = np.random.default_rng(0)
    means = generator.normal(size=(4, 6, 6, 1))

    def split(rows: int) -> dict:
        kinds = generator.integers(0, 4, rows)
        inputs = (means[kinds] + generator.normal(size=(rows, 6, 6, 1))).astype("float32")
        return {"inputs": inputs, "labels": {"kind": kinds, "odd": kinds[:, None] % 2}}

    return {"train": split(800), "test": split(400)}


def both_right(labels: dict, outputs: dict) -> float:
    kind = outputs["kind"].argmax(1) == labels["kind"]
    odd = (outputs["odd"] > 0) == (labels["odd"] == 1)
    return float(np.mean(kind & odd[:, 0]))
