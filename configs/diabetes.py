"""How far diabetes has gone a year later, from ten measurements at the start (data/diabetes.parquet, 442 patients)."""

import keras
from keras import layers


def build() -> keras.Model:
    """18,000 weights. The first layer learns the measurements' units; training starts at the average outcome."""
    return keras.Sequential(
        [
            keras.Input((10,), name="measurements"),
            layers.BatchNormalization(momentum=0.9),
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(1, bias_initializer=keras.initializers.Constant(150.0), name="progression"),
        ]
    )
