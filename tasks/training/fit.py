"""The one fit loop: training and every technique that fine-tunes go through it, so both behave alike.

It works on Keras 3 and on tf_keras models, because techniques fine-tune the latter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.data.dataset import Split
from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.models.interface import Interface, describe
from tasks.training import feed, losses
from tasks.training.config import EarlyStopping, TrainingConfig

Progress = Callable[[int, int, float, float], None]


class Objective(NamedTuple):
    """What a fit strives for where it is not the labels alone.

    Attributes:
        loss: of (targets, outputs) -> (rows,).
        name: of the metric that people watch.
        metric: a metric of the model's library, on (targets, outputs).
        targets: split -> (rows, ...).
    """

    loss: Any
    name: str
    metric: Any
    targets: Mapping[str, Any]


class FitSettings(Record):
    """All that decides a fit beside model and data.

    Attributes:
        training: the settings.
        output: what a classifier's output is, None for regression.
        seed: of the order of rows, dropout and other randomness.
        folder: absolute path of the config's folder, for a loss of the user's own.
    """

    training: TrainingConfig
    output: losses.Output | None
    seed: int
    folder: str


class History(Record):
    """What happened.

    Attributes:
        epochs: epochs that were run.
        metrics: value of every epoch by Keras' name: loss, accuracy or mae, and each with `val_`.
        best_epoch: epoch (from 1) whose weights the model now has.
    """

    epochs: int
    metrics: dict[str, tuple[float, ...]]
    best_epoch: int


def fit(
    model: Any,
    dataset: Mapping[str, Split],
    settings: FitSettings,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
    objective: Objective | None = None,
) -> History:
    """Train a model in place.

    Args:
        model: a built Keras 3 or tf_keras model with one output.
        dataset: holds `train` and `validation`.
        settings: how.
        progress: called after every epoch with (epoch from 1, epochs, loss, metric), of the train split.
        callbacks: further callbacks of the model's library.
        objective: what to strive for; default the loss of the settings on the labels.

    Returns:
        The history.

    Raises:
        InputError: settings that do not fit the model, or the user's loss or layers raised.
        StepFailed: the loss became NaN or infinite.
    """
    library, interface, config = library_of(model), describe(model), settings.training
    library.utils.set_random_seed(settings.seed)
    goal = objective or on_labels(library, dataset, settings, _one_output(interface))
    train, validation = (
        _feed(dataset[name], goal.targets[name], interface, settings, name) for name in ("train", "validation")
    )
    steps = int(train.cardinality())
    watch = _Watch(goal.name, config, progress)
    stopping = _stopping(library, config.early_stopping, goal.name)
    model.compile(
        optimizer=config.optimizer.build(library, steps, config.epochs),
        loss=goal.loss,
        metrics=[goal.metric],
        jit_compile=False,  # on a CPU, XLA's compilation alone takes longer than a small model's whole training
    )
    with entrypoints.blaming("training", Path(settings.folder)):
        model.fit(
            train,
            validation_data=validation,
            epochs=config.epochs,
            verbose=0,
            shuffle=False,  # the feed shuffles
            callbacks=[library.callbacks.LambdaCallback(on_epoch_end=watch), *stopping, *callbacks],
        )
    watch.refuse_infinite(model)
    ran = len(watch.metrics["loss"])
    restored = bool(stopping) and stopping[0].restore_best_weights
    return History(epochs=ran, metrics=watch.metrics, best_epoch=stopping[0].best_epoch + 1 if restored else ran)


def on_labels(library: Any, dataset: Mapping[str, Split], settings: FitSettings, width: int | None) -> Objective:
    """The loss of the settings on the labels of train and validation."""
    name, metric = losses.metric(library, settings.output, width)
    loss = losses.build(settings.training.loss, library, settings.output, width, Path(settings.folder))
    return Objective(loss, name, metric, {split: dataset[split].labels() for split in ("train", "validation")})


def library_of(model: Any) -> Any:
    """The module `keras` or `tf_keras`, whichever the model is made with."""
    import importlib

    legacy = any(base.__module__.partition(".")[0] == "tf_keras" for base in type(model).__mro__)
    return importlib.import_module("tf_keras" if legacy else "keras")


class _Watch:
    """Keeps the history, tells the progress, and ends a training that has diverged."""

    def __init__(self, metric: str, config: TrainingConfig, progress: Progress | None) -> None:
        self.metric, self.config, self.progress = metric, config, progress
        self.metrics: dict[str, tuple[float, ...]] = {}

    def __call__(self, epoch: int, logs: Mapping[str, Any]) -> None:
        for name, value in logs.items():
            self.metrics[name] = (*self.metrics.get(name, ()), float(value))
        for name in ("loss", "val_loss"):
            if not math.isfinite(float(logs[name])):
                raise StepFailed(self._diverged(name, epoch + 1, float(logs[name])))
        if self.progress:
            self.progress(epoch + 1, self.config.epochs, float(logs["loss"]), float(logs[self.metric]))

    def refuse_infinite(self, model: Any) -> None:
        """Look at the weights too: a ReLU turns NaN into zero, and the loss of a dead model is finite.

        Raises:
            StepFailed: a weight is not a finite number.
        """
        for weight in model.weights:
            value = weight.numpy()
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                name = getattr(weight, "path", weight.name)
                raise StepFailed(self._diverged(f"weight {name}", len(self.metrics["loss"]), float("nan")))

    def _diverged(self, name: str, epoch: int, value: float) -> str:
        rate = self.config.optimizer.learning_rate
        rate = rate if isinstance(rate, float) else rate.kind
        return (
            f"training diverged: {name} became {value} in epoch {epoch} of {self.config.epochs}. Try a smaller "
            f"learning rate (now {rate}), optimizer.clip_norm, or inputs scaled to about -1..1."
        )


def _one_output(interface: Interface) -> int | None:
    """Width of the output."""
    outputs = interface.signature.outputs
    if len(outputs) != 1:
        raise InputError(
            f"model: it has the outputs {', '.join(outputs)}. Labels go with one output, so only models of one can be "
            "trained; leave the others out, or combine them."
        )
    (spec,) = outputs.values()
    return spec.shape[-1] if len(spec.shape) > 1 else 1


def _feed(split: Split, targets: Any, interface: Interface, settings: FitSettings, name: str) -> Any:
    arrays = split.input_arrays()
    if len(arrays) == 1:  # one input feeds one input whatever the names
        arrays = dict(zip(interface.signature.inputs, arrays.values(), strict=True))
    seed = settings.seed if name == "train" else None
    return feed.batches(arrays, targets, settings.training.batch_size, interface.arrange, seed)


def _stopping(library: Any, config: EarlyStopping | None, metric: str) -> list[Any]:
    if config is None:
        return []
    if config.monitor not in ("val_loss", f"val_{metric}"):
        raise InputError(
            f"training.early_stopping.monitor: {config.monitor} is not measured here. Use val_loss or val_{metric}."
        )
    return [
        library.callbacks.EarlyStopping(
            monitor=config.monitor,
            mode="max" if config.monitor == "val_accuracy" else "min",
            patience=config.patience,
            min_delta=config.min_delta,
            restore_best_weights=config.restore_best,
        )
    ]
