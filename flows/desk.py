"""Everything that a release works with, opened once: folders, store, worker processes, display, controls.

Opened before Prefect starts where possible, so that the workers' imports overlap with the start of its server.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config import Config, Plan
from flows.control import RegistryAliases, open_control, registry_place
from flows.diary import Spans, open_display
from flows.fan_out import dispatch_of
from flows.home import Home, home
from flows.running import running
from flows.storage import open_store
from tasks.evaluation.meaning import meaning_of
from tasks.execution.steps import Executor
from tasks.foundations import progress
from tasks.foundations.workers import Workers
from tasks.promotion.control import Control
from tasks.registry.jobs import AliasRequest
from tasks.registry.records import Place
from tasks.store.store import Store
from tasks.training.fit import FitSettings

if TYPE_CHECKING:
    from flows.observer import Observer


@dataclass(frozen=True)
class Desk:
    """What a release works with.

    Attributes:
        plan: the config and where it lies.
        release: id of this release.
        started: ISO 8601 time in UTC.
        home: the installation's folders.
        store: where artifacts lie.
        workers: worker processes.
        observer: who is told how it goes.
        executor: runs steps.
        control: where production is controlled from.
        registry: where MLflow is.
        killed: releases that were found killed when this one began.
    """

    plan: Plan
    release: str
    started: str
    home: Home
    store: Store
    workers: Workers
    observer: "Observer"
    executor: Executor
    control: Control
    registry: Place
    killed: list[str]

    @property
    def config(self) -> Config:
        """The config."""
        return self.plan.config

    @property
    def fit(self) -> FitSettings | None:
        """How models are trained and fine-tuned; None if the config does not say."""
        if self.config.training is None:
            return None
        return FitSettings(
            training=self.config.training,
            meaning=meaning_of(self.config.task),
            seed=self.config.seed,
            folder=str(self.plan.folder),
        )

    @property
    def folder(self) -> Path:
        """Where this release's report goes."""
        return self.home.releases(self.config.name) / self.release


_opened: dict[str, Desk] = {}


def new_release() -> str:
    """An id that sorts by time: `20261124T071500Z-1f3a`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@contextmanager
def desk_of(plan: Plan) -> Iterator[Desk]:
    """The desk of a release: the one that the command line has opened in this process, else a new one."""
    if plan.path in _opened:
        yield _opened[plan.path]
        return
    with _open(plan, new_release()) as desk:
        _opened[plan.path] = desk
        try:
            yield desk
        finally:
            del _opened[plan.path]


@contextmanager
def _open(plan: Plan, release: str) -> Iterator[Desk]:
    from flows.observer import Observer

    place, config = home(), plan.config
    store = open_store(place)
    store.sweep_scratch()
    progress.sweep(place.logs)
    settings = config.execution.worker_settings(len(config.chains()), str(place.logs / f"{release}.log"))
    owner = f"release {release} of {config.name}"
    with (
        running(place, release, owner) as killed,
        store.scratch() as temporary,
        open_display("release", release, config.name) as display,
        Spans(release, config.name) as spans,
        Workers(settings.model_copy(update={"temporary": str(temporary)})) as workers,
        dispatch_of(
            config.execution, store, observer := Observer(display, spans), release=release, seed=config.seed
        ) as carrier,
    ):
        registry = registry_place(place, config.name)

        def change_aliases(model: str, aliases: dict[str, int | None]) -> None:
            request = AliasRequest(place=registry, model=model, aliases=aliases)
            workers.run("tasks.registry.jobs:set_aliases", request, kind="plain")

        yield Desk(
            plan=plan,
            release=release,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            home=place,
            store=store,
            workers=workers,
            observer=observer,
            executor=Executor(
                store,
                workers,
                observer,
                seed=config.seed,
                step_timeout_s=config.execution.step_timeout_s,
                carrier=carrier,
            ),
            control=open_control(place, store, lambda: RegistryAliases(change_aliases)),
            registry=registry,
            killed=killed,
        )
