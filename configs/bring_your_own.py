"""A model that comes trained, as a SavedModel, and its data as npz: `python configs/bring_your_own.py` makes both.

It stands for whatever made your model. The files go to bring_your_own/ beside this one; Slipway only reads them.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

OUT = Path(__file__).parent / "bring_your_own"


def build_student() -> keras.Model:
    """9,800 weights, for distillation: a SavedModel cannot be trained on, but it can teach."""
    return _net(8, 16, 32)


def make() -> None:
    """Train on scikit-learn's digits, export for inference, save the arrays."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    x_train, x_test, y_train, y_test = train_test_split(images, digits, test_size=0.5, stratify=digits, random_state=0)
    keras.utils.set_random_seed(0)
    model = _net(32, 64, 128)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=64, epochs=15, verbose=0)
    OUT.mkdir(exist_ok=True)
    model.export(OUT / "model", verbose=False)
    np.savez(OUT / "digits.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    print(f"wrote {OUT}/model (accuracy {accuracy:.2%}) and {OUT}/digits.npz")  # noqa: T201 - run by hand


def _net(first: int, second: int, dense: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(first, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2D(second, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(dense, activation="relu"),
            layers.Dense(10, name="logits"),
        ]
    )


if __name__ == "__main__":
    make()
