"""Tumours, malignant or benign, from 30 measurements of cell nuclei (data/breast_cancer.csv, 569 patients)."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

MEASUREMENTS = 30
DATA = Path(__file__).parent / "data" / "breast_cancer.csv"


def build() -> keras.Model:
    """41,000 weights; one logit, above 0 for malignant. The units of the measurements are learnt from train alone."""
    units = layers.Normalization()
    units.adapt(_train_rows())
    return keras.Sequential(
        [
            keras.Input((MEASUREMENTS,), name="measurements"),
            units,
            layers.Dense(256, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(1, name="malignant"),
        ]
    )


def build_student() -> keras.Model:
    """1,100 weights, for distillation; it brings the units along."""
    units = layers.Normalization()
    units.adapt(_train_rows())
    return keras.Sequential(
        [
            keras.Input((MEASUREMENTS,), name="measurements"),
            units,
            layers.Dense(24, activation="relu"),
            layers.Dense(12, activation="relu"),
            layers.Dense(1, name="malignant"),
        ]
    )


def _train_rows() -> np.ndarray:
    with DATA.open() as file:
        split = next(file).split(",").index("split")
        rows = [line.split(",") for line in file]
    return np.array([row[:MEASUREMENTS] for row in rows if row[split] == "train"], "float32")
