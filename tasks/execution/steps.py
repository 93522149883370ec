"""One way to run a step: look it up, else run its job in a worker and publish the folder whole.

Verbs describe a step, this room decides whether it has to run. What ran, what was reused and how long it took is
kept for the report.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tasks.foundations.record import Record
from tasks.foundations.worker_process import Kind
from tasks.foundations.workers import Workers
from tasks.store.action import Action, lookup, remember, source_digest, versions
from tasks.store.artifact import Artifact
from tasks.store.store import Store


class Observer(Protocol):
    """Who is told how a release goes: the terminal's live display, or a log."""

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A stage says how far it is."""

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A stage ended."""

    def log(self, message: str) -> None:
        """A sentence between the stages."""


class StageRun(Record):
    """One stage as it went: for the report."""

    name: str
    candidate: str | None = None
    seconds: float
    reused: bool = False
    failed: str | None = None


@dataclass(frozen=True)
class Step:
    """A step whose outcome depends on nothing but what is named here.

    Attributes:
        name: the stage's word, `train`, `convert`.
        job: `package.module:function` that fills a folder.
        format: format of the folder.
        inputs: artifacts that it reads, by role.
        settings: its own settings.
        rooms: rooms under `tasks/` whose source decides the outcome.
        libraries: distributions whose version decides the outcome.
        candidate: whose step it is, None for the release's own.
        user_sources: digest of the user's modules where they decide the outcome.
        cpu: CPU class where it decides the outcome.
        kind: kind of worker.
        always: run it each time; the content that it yields is the key of what follows.
        once: one release runs it once: whoever asks again, or meanwhile, gets the same outcome. For steps that are
            begun before their turn.
        timeout_s: limit of this step where it is below that of all steps.
    """

    name: str
    job: str
    format: str
    inputs: dict[str, Artifact]
    settings: dict[str, Any]
    rooms: tuple[str, ...]
    libraries: tuple[str, ...] = ("numpy",)
    candidate: str | None = None
    user_sources: str = ""
    cpu: str = ""
    kind: Kind = "keras3"
    always: bool = False
    once: bool = False
    timeout_s: float | None = None


class Executor:
    """Runs the steps of one release.

    A plain class on purpose: Prefect copies the fields of data classes that are passed to tasks.

    Attributes:
        store: where artifacts lie.
        workers: the process pools.
        observer: who is told.
        seed: the release's seed.
        stages: what ran so far, in order of its end.
        digests: of every artifact that was made or used.
    """

    def __init__(self, store: Store, workers: Workers, observer: Observer, *, seed: int, step_timeout_s: float) -> None:
        self.store = store
        self.workers = workers
        self.observer = observer
        self.seed = seed
        self.stages: list[StageRun] = []
        self.digests: set[str] = set()
        self._step_timeout_s = step_timeout_s
        self._lock = threading.Lock()
        self._begun: dict[str, Future[Any]] = {}

    def produce(self, step: Step, request: Callable[[Path], Record]) -> Artifact:
        """The step's artifact: from the index if the same action ran before, else made now.

        Args:
            step: what to do.
            request: builds the job's request for the empty folder that it must fill.

        Raises:
            StepFailed: the job failed, died or took too long; nothing is published or remembered.
        """
        action = _action(step, self.seed)
        if step.once:
            artifact: Artifact = self._once(action.key(), lambda: self._produce(step, action, request))
            return artifact
        return self._produce(step, action, request)

    def perform(self, name: str, job: str, request: Record, *, kind: Kind = "keras3", once: bool = False) -> Any:
        """Run a job whose outcome is never reused by another release and give its record back; `once` as in `Step`."""
        if once:
            key = f"{job} {request.model_dump_json()}"
            return self._once(key, lambda: self.perform(name, job, request, kind=kind))
        with self.stage(name):
            return self.workers.run(
                job,
                request,
                kind=kind,
                seed=self.seed,
                timeout_s=self._step_timeout_s,
                on_progress=lambda text: self.observer.update(name, None, text),
            )

    @contextmanager
    def stage(self, name: str, candidate: str | None = None) -> Iterator["Clock"]:
        """Tell the observer of a stage and keep its time, also when it fails."""
        clock = Clock()
        failed: str | None = None
        self.observer.start(name, candidate)
        try:
            yield clock
        except BaseException as error:
            failed = str(error) or type(error).__name__
            raise
        finally:
            run = StageRun(name=name, candidate=candidate, seconds=clock.seconds(), reused=clock.reused, failed=failed)
            with self._lock:
                self.stages.append(run)
            self.observer.finish(name, candidate, reused=clock.reused, failed=failed)

    def _once(self, key: str, work: Callable[[], Any]) -> Any:
        with self._lock:
            first = key not in self._begun
            outcome = self._begun.setdefault(key, Future())
        if first:
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)
                raise
        return outcome.result()

    def _produce(self, step: Step, action: Action, request: Callable[[Path], Record]) -> Artifact:
        with self.stage(step.name, step.candidate) as stage:
            artifact = None if step.always else lookup(self.store, action)
            stage.reused = artifact is not None
            if artifact is None:
                artifact = self._make(step, action, request)
            self.digests.add(artifact.digest)
            return artifact

    def _make(self, step: Step, action: Action, request: Callable[[Path], Record]) -> Artifact:
        with self.store.scratch() as folder:
            result = self._run(step, request(folder))
            artifact = self.store.publish(folder, step.format, action.model_dump(mode="json"), _figures(result))
        if not step.always:
            remember(self.store, action, artifact)
        return artifact

    def _run(self, step: Step, request: Record) -> Any:
        return self.workers.run(
            step.job,
            request,
            kind=step.kind,
            seed=self.seed,
            timeout_s=min(step.timeout_s or self._step_timeout_s, self._step_timeout_s),
            on_progress=lambda text: self.observer.update(step.name, step.candidate, text),
        )


class Clock:
    """Time since a stage began, and whether it was reused."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.reused = False

    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.began


def _action(step: Step, seed: int) -> Action:
    return Action(
        step=step.name,
        inputs={role: artifact.digest for role, artifact in step.inputs.items()},
        settings={"job": step.job, **step.settings},
        seed=seed,
        libraries=versions(*step.libraries),
        sources=source_digest(*step.rooms, "foundations"),
        user_sources=step.user_sources,
        cpu=step.cpu,
    )


def _figures(result: Any) -> dict[str, Any]:
    return result.model_dump(mode="json") if isinstance(result, Record) else {}
