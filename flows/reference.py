"""The data and the trained model: what every release begins with, and begins before Prefect's server answers."""

import threading
from collections.abc import Callable
from typing import Any

from flows.desk import Desk
from tasks.build import build
from tasks.data.dataset import open_dataset
from tasks.evaluation.slices import check_slices
from tasks.fetch import fetch
from tasks.load import load
from tasks.models.signature import Signature
from tasks.models.sources.registered import Registered
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
    return (_trained_here if desk.config.model.needs_training else _came_trained)(desk, call)


def _trained_here(desk: Desk, call: Callable[..., Any]) -> tuple[Artifact, Artifact]:
    config, folder, executor = desk.config, desk.plan.folder, desk.executor
    built = call(build, executor, config.model, folder, config.task)
    dataset = _read(desk, call, built.signature)
    assert config.training is not None  # noqa: S101 - checked with the config
    model = call(train, executor, config.model, folder, built, dataset, config.training, config.task)
    return model, dataset


def _came_trained(desk: Desk, call: Callable[..., Any]) -> tuple[Artifact, Artifact]:
    source, executor = desk.config.model, desk.executor
    if isinstance(source, Registered):
        fetched = call(fetch, executor, source, desk.registry)
        source = source.opened(desk.store.path(fetched.digest), fetched.result)
    model = call(load, executor, source, desk.plan.folder, desk.config.task)
    return model, _read(desk, call, Signature.read(desk.store.path(model.digest)))


def _read(desk: Desk, call: Callable[..., Any], signature: Signature) -> Artifact:
    config = desk.config
    dataset: Artifact = call(
        read, desk.executor, config.data, desk.plan.folder, config.task, signature, config.needs_train
    )
    check_slices(config.gates, open_dataset(desk.store.path(dataset.digest))["test"].slice_columns())
    return dataset
