"""Points with four labels, each yes or no by itself: the smallest multilabel model."""

import keras
import numpy as np


def build() -> keras.Model:
    return net(32)


def build_student() -> keras.Model:
    return net(8)


def net(units: int) -> keras.Model:
    layers = [keras.layers.Dense(units, activation="relu"), keras.layers.Dense(4, name="tags")]
    return keras.Sequential([keras.Input((6,), name="features"), *layers])


def load() -> dict:
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(6, 4))

    def split(rows: int) -> dict:
        inputs = generator.normal(size=(rows, 6)).astype("float32")
        side = np.where(inputs[:, 0] > 0, "left", "right")
        return {"inputs": inputs, "labels": inputs @ directions > 0.3, "slices": {"side": side}}

    return {"train": split(1000), "test": split(500)}
