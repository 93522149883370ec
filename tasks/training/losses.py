"""Losses by name, built so that they fit the task: a classifier's logits and probabilities need different ones."""

from pathlib import Path
from typing import Any, Literal

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Output = Literal["logits", "probabilities"]
CLASS = {
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
    "binary_crossentropy": "BinaryCrossentropy",
}
REGRESSION = {
    "mean_squared_error": "MeanSquaredError",
    "mse": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mae": "MeanAbsoluteError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mape": "MeanAbsolutePercentageError",
    "mean_squared_logarithmic_error": "MeanSquaredLogarithmicError",
    "msle": "MeanSquaredLogarithmicError",
    "huber": "Huber",
    "log_cosh": "LogCosh",
    "poisson": "Poisson",
}


def check_name(name: str) -> str:
    """The name, if it is a known loss or an entrypoint.

    Raises:
        ValueError: neither; pydantic shows the sentence at the config's line.
    """
    if ".py:" in name or name in CLASS | REGRESSION:
        return name
    if name == "categorical_crossentropy":
        raise ValueError("one-hot labels are not supported yet: use sparse_categorical_crossentropy with integer ones")
    known = sorted(CLASS | REGRESSION)
    raise ValueError(
        f"unknown loss {name!r}.{suggest(name, known)} Known: {', '.join(known)}; or your own as file.py:function"
    )


def build(name: str, keras: Any, output: Output | None, width: int | None, folder: Path) -> Any:
    """A loss of `keras` (or tf_keras).

    Args:
        name: a known loss, or `file.py:function` of (labels, outputs) -> one number a row.
        keras: the library of the model.
        output: what a classifier's output is; None for regression.
        width: size of the output's last axis, 1 for a single number.
        folder: the config's folder, for the user's own function.

    Raises:
        InputError: the loss does not fit the task or the model's output.
    """
    if ".py:" in name:
        return entrypoints.load(name, folder)
    if (name in CLASS) != (output is not None):
        task = "regression" if output is None else "classification"
        fitting = ", ".join(sorted(REGRESSION if output is None else CLASS))
        raise InputError(f"training.loss: {name} does not fit the task {task}. Fitting ones: {fitting}.")
    if name == "sparse_categorical_crossentropy" and width == 1:
        raise InputError("training.loss: the model has one output, which needs binary_crossentropy.")
    if name == "binary_crossentropy" and width != 1:
        raise InputError(
            f"training.loss: the model has {width} outputs, which need sparse_categorical_crossentropy; "
            "binary_crossentropy is for one."
        )
    if name in CLASS:
        return getattr(keras.losses, CLASS[name])(from_logits=output == "logits")
    return getattr(keras.losses, REGRESSION[name])()


def metric(keras: Any, output: Output | None, width: int | None) -> tuple[str, Any]:
    """Name and Keras metric that people watch: `accuracy` of a classifier, `mae` of a regression."""
    if output is None:
        return "mae", keras.metrics.MeanAbsoluteError(name="mae")
    if width == 1:
        return "accuracy", keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if output == "logits" else 0.5)
    return "accuracy", keras.metrics.SparseCategoricalAccuracy("accuracy")
