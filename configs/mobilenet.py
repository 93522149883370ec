"""MobileNetV2 at its real size, on pictures that are made here: stripes in ten directions, with colour and noise."""

import keras
import numpy as np

SIDE, CLASSES = 96, 10


def build() -> keras.Model:
    """2.2 million weights, untrained. Momentum 0.9, because a hundred steps are few for Keras' 0.999."""
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None, classes=CLASSES, classifier_activation=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return model


def load() -> dict:
    """Half as many pictures to judge as to learn from; slices by contrast."""
    return {split: _pictures(rows, seed) for split, rows, seed in (("train", 1400, 0), ("test", 700, 1))}


def _pictures(rows: int, seed: int) -> dict:
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % CLASSES
    angles = np.pi * labels / CLASSES
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves, phases, contrast = (
        random.uniform(6, 12, rows),
        random.uniform(0, 2 * np.pi, rows),
        random.uniform(0.4, 1, rows),
    )
    images = np.empty((rows, SIDE, SIDE, 3), "float32")
    for row, angle in enumerate(angles):
        stripes = np.sin(2 * np.pi * waves[row] * (x * np.cos(angle) + y * np.sin(angle)) + phases[row])
        colour = random.uniform(-1, 1, 3)
        images[row] = contrast[row] * stripes[..., None] * (1 + 0.5 * colour) / 1.5
    images += random.normal(0, 0.1, images.shape).astype("float32")
    return {
        "inputs": images,
        "labels": labels,
        "slices": {"contrast": np.where(contrast > 0.7, "strong", "weak")},
    }
