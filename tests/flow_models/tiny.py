"""The smallest model that is worth a release: three classes of points, two dense layers, learnt in two epochs."""

import keras
import numpy as np


def build() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((16,), name="features"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def load() -> dict:
    generator = np.random.default_rng(0)
    labels = np.arange(1200) % 3
    inputs = (generator.normal(size=(1200, 16)) + 2 * np.eye(3, 16)[labels]).astype("float32")
    side = np.where(inputs[:, 8] > 0, "left", "right")
    return {
        "train": {"inputs": inputs[:600], "labels": labels[:600]},
        "test": {"inputs": inputs[600:], "labels": labels[600:], "slices": {"side": side[600:]}},
    }
