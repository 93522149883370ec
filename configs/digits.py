"""Handwritten digits: a small convolution net on scikit-learn's 1,797 real scans of 8 x 8 pixels."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def build() -> keras.Model:
    """151,000 weights; ends in logits, as `task.output` says. Momentum 0.9, because 200 steps are few for 0.99."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, name="logits"),
        ]
    )


def build_student() -> keras.Model:
    """9,800 weights, for distillation: the same inputs and outputs, everything else may differ."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, name="logits"),
        ]
    )


def load() -> dict:
    """Half of the scans judge (a tenth of the others validates); slices by how much ink the writer used."""
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1) / 16
    ink = np.where(images.mean(axis=(1, 2, 3)) > 0.3, "thick", "thin")
    train, test = train_test_split(np.arange(len(digits)), test_size=0.5, stratify=digits, random_state=0)
    return {
        split: {"inputs": images[rows], "labels": digits[rows], "slices": {"ink": ink[rows]}}
        for split, rows in (("train", train), ("test", test))
    }
