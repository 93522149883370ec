"""Losses by name, built so that they fit the task: a classifier's logits and probabilities need different ones."""

from pathlib import Path
from typing import Any

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest
from tasks.models.output import Meaning

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


FITTING = {
    "classification": (*CLASS,),
    "multilabel": ("binary_crossentropy",),
    "regression": (*REGRESSION,),
    "custom": (*CLASS, *REGRESSION),
}


def check_name(name: str) -> str:
    """The name, if it is a known loss or an entrypoint.

    Raises:
        ValueError: neither; pydantic shows the sentence at the config's line.
    """
    if ".py:" in name or name in CLASS | REGRESSION:
        return name
    if name == "categorical_crossentropy":
        raise ValueError(
            "one-hot labels become integers when the data are read: use sparse_categorical_crossentropy for them too"
        )
    known = sorted(CLASS | REGRESSION)
    raise ValueError(
        f"unknown loss {name!r}.{suggest(name, known)} Known: {', '.join(known)}; or your own as file.py:function"
    )


def build(name: str, keras: Any, meaning: Meaning, width: int | None, folder: Path) -> Any:
    """A loss of `keras` (or tf_keras).

    Args:
        name: a known loss, or `file.py:function` of (labels, outputs) -> one number a row.
        keras: the library of the model.
        meaning: what the task says of the outputs.
        width: size of the output's last axis, 1 for a single number.
        folder: the config's folder, for the user's own function.

    Raises:
        InputError: the loss does not fit the task or the model's output.
    """
    if ".py:" in name:
        return entrypoints.load(name, folder)
    if name not in FITTING[meaning.kind]:
        fitting = ", ".join(sorted(FITTING[meaning.kind]))
        raise InputError(f"training.loss: {name} does not fit the task {meaning.kind}. Fitting ones: {fitting}.")
    if name in CLASS and meaning.output is None:
        raise InputError(f"training.loss: {unsaid(name)}")
    if meaning.kind == "classification":
        _check_width(name, width)
    if name in CLASS:
        return getattr(keras.losses, CLASS[name])(from_logits=meaning.output == "logits")
    return getattr(keras.losses, REGRESSION[name])()


def unsaid(name: str) -> str:
    """The sentence about a crossentropy of outputs that the task does not describe."""
    return (
        f"{name} must know what the outputs are: write task: {{kind: custom, output: logits}}, or probabilities if "
        "they end in softmax or sigmoid."
    )


def _check_width(name: str, width: int | None) -> None:
    if name == "sparse_categorical_crossentropy" and width == 1:
        raise InputError("training.loss: the model has one output, which needs binary_crossentropy.")
    if name == "binary_crossentropy" and width != 1:
        raise InputError(
            f"training.loss: the model has {width} outputs, which need sparse_categorical_crossentropy; "
            "binary_crossentropy is for one, or for a task: {kind: multilabel}."
        )


def metric(keras: Any, meaning: Meaning, width: int | None) -> tuple[str, Any]:
    """Name and Keras metric that people watch: `accuracy` of classes and labels, `mae` of numbers, else the loss.

    A label of a multilabel task counts as predicted above one half here, whatever the task's threshold.
    """
    if meaning.kind == "custom":
        return "loss", None
    if meaning.kind == "regression":
        return "mae", keras.metrics.MeanAbsoluteError(name="mae")
    if width == 1 or meaning.kind == "multilabel":
        cut = 0.0 if meaning.output == "logits" else 0.5
        return "accuracy", keras.metrics.BinaryAccuracy("accuracy", threshold=cut)
    return "accuracy", keras.metrics.SparseCategoricalAccuracy("accuracy")
