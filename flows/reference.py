"""The data and the trained model: what every release begins with, and begins before Prefect's server answers."""

import threading
from collections.abc import Callable
from typing import Any

from flows.desk import Desk
from tasks.build import build
from tasks.data.dataset import open_dataset
from tasks.evaluation.slices import check_slices
from tasks.read import read
from tasks.store.artifact import Artifact
from tasks.train import train


def make_reference(desk: Desk) -> tuple[Artifact, Artifact]:
    """The trained model and the data set, made by Prefect tasks."""
    return _make(desk, lambda task, *args: task(*args))


def begin_reference(desk: Desk) -> None:
    """Begin on the same steps in the background, without Prefect; its tasks then wait for these and repeat nothing.

    For a small model they take as long as the start of Prefect's server.
    """

    def work() -> None:
        try:
            _make(desk, lambda task, *args: task.fn(*args))
        except Exception:  # noqa: BLE001 - the step keeps it for the task, which raises it in its turn
            return

    threading.Thread(target=work, name="reference", daemon=True).start()


def _make(desk: Desk, call: Callable[..., Any]) -> tuple[Artifact, Artifact]:
    config, folder, executor = desk.config, desk.plan.folder, desk.executor
    built = call(build, executor, config.model, folder, config.task)
    dataset = call(read, executor, config.data, folder, config.task, built.signature, config.model.needs_training)
    check_slices(config.gates, open_dataset(desk.store.path(dataset.digest))["test"].slice_columns())
    assert config.training is not None  # noqa: S101 - checked with the config
    model = call(train, executor, config.model, folder, built, dataset, config.training, config.task)
    return model, dataset
