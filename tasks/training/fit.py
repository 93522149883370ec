"""The one fit loop: training and every technique that fine-tunes go through it, so both behave alike.

It works on Keras 3 and on tf_keras models, because techniques fine-tune the latter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.dataset import Split
from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError, StepFailed
from tasks.foundations.record import Record
from tasks.models.interface import Interface, describe
from tasks.models.output import Meaning
from tasks.training import feed
from tasks.training.config import EarlyStopping, TrainingConfig
from tasks.training.objective import Objective, on_labels, refuse_contradictions, with_outputs

Progress = Callable[[int, int, float, float], None]


class FitSettings(Record):
    """All that decides a fit beside model and data.

    Attributes:
        training: the settings.
        meaning: what the task says of the outputs.
        seed: of the order of rows, dropout and other randomness.
        folder: absolute path of the config's folder, for a loss of the user's own.
    """

    training: TrainingConfig
    meaning: Meaning
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
        model: a built Keras 3 or tf_keras model.
        dataset: holds `train` and `validation`.
        settings: how.
        progress: called after every epoch with (epoch from 1, epochs, loss, metric), of the train split; the metric
            is the loss where there is no other.
        callbacks: further callbacks of the model's library.
        objective: what to strive for; default the loss of the settings on the labels.

    Returns:
        The history.

    Raises:
        InputError: settings that do not fit the model, or the user's loss or layers raised.
        StepFailed: the loss became NaN or infinite.
    """
    library, interface, config = library_of(model), describe(model), settings.training
    refuse_contradictions(model, settings, list(interface.signature.outputs))
    library.utils.set_random_seed(settings.seed)
    goal = objective or on_labels(library, dataset, settings, interface.signature)
    fitted = with_outputs(model, library, interface, list(goal.losses))
    train, validation = (
        _feed(dataset[name], goal.targets[name], interface, settings, name) for name in ("train", "validation")
    )
    steps = int(train.cardinality())
    watch = _Watch(goal.name, config, progress)
    stopping = _stopping(library, config.early_stopping, goal.name)
    each = list(goal.losses.values())
    fitted.compile(
        optimizer=config.optimizer.build(library, steps, config.epochs),
        loss=each[0] if len(each) == 1 else each,
        metrics=[goal.metric] if goal.metric else None,
        jit_compile=False,  # on a CPU, XLA's compilation alone takes longer than a small model's whole training
    )
    with entrypoints.blaming("training", Path(settings.folder)):
        fitted.fit(
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


def _feed(split: Split, targets: tuple[Any, ...], interface: Interface, settings: FitSettings, name: str) -> Any:
    arrays = split.input_arrays()
    if len(arrays) == 1:  # one input feeds one input whatever the names
        arrays = dict(zip(interface.signature.inputs, arrays.values(), strict=True))
    seed = settings.seed if name == "train" else None
    return feed.batches(arrays, targets, settings.training.batch_size, interface.arrange, seed)


def _stopping(library: Any, config: EarlyStopping | None, metric: str) -> list[Any]:
    if config is None:
        return []
    if config.monitor not in ("val_loss", f"val_{metric}"):
        usable = "val_loss" if metric == "loss" else f"val_loss or val_{metric}"
        raise InputError(f"training.early_stopping.monitor: {config.monitor} is not measured here. Use {usable}.")
    return [
        library.callbacks.EarlyStopping(
            monitor=config.monitor,
            mode="max" if config.monitor == "val_accuracy" else "min",
            patience=config.patience,
            min_delta=config.min_delta,
            restore_best_weights=config.restore_best,
        )
    ]
