"""One way to run a step: look it up, else run its job in a worker and publish the folder whole.

Verbs describe a step, this room decides whether it has to run. What ran, what was reused and how long it took is
kept for the report.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tasks.execution.stages import Clock, Observer, StageRun
from tasks.foundations.record import Record
from tasks.foundations.worker_process import Kind
from tasks.foundations.workers import Workers
from tasks.store.action import Action, lookup, remember, source_digest, versions
from tasks.store.artifact import Artifact
from tasks.store.store import Store

Request = Callable[[Store, Path], Record]
"""Builds a job's request for the empty folder that it must fill, from the store of the machine that runs the job."""


class Carrier(Protocol):
    """Has steps carried out on other machines."""

    def carry(self, step: "Step", request: Request) -> Artifact:
        """What came of it, as `Executor.produce` would give it back or raise."""

    def rest(self) -> None:
        """Let go of what the other machines keep ready for this release; returns when it is gone."""

    def end(self) -> None:
        """End at once what they still do for it; who waits for a step fails."""


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
        travels: another machine can carry it out: its request is built from the store and nothing else.
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
    travels: bool = False
    timeout_s: float | None = None


class Executor:
    """Runs the steps of one release.

    A plain class on purpose: Prefect copies the fields of data classes that are passed to tasks.

    Attributes:
        store: where artifacts lie.
        workers: the process pools of this machine.
        carrier: who has steps that travel carried out elsewhere; None: they run here as well.
        observer: who is told.
        seed: the release's seed.
        stages: what ran so far, in order of its end.
        digests: of every artifact that was made or used.
    """

    def __init__(
        self,
        store: Store,
        workers: Workers,
        observer: Observer,
        *,
        seed: int,
        step_timeout_s: float,
        carrier: Carrier | None = None,
    ) -> None:
        self.store = store
        self.workers = workers
        self.carrier = carrier
        self.observer = observer
        self.seed = seed
        self.stages: list[StageRun] = []
        self.digests: set[str] = set()
        self._step_timeout_s = step_timeout_s
        self._lock = threading.Lock()
        self._begun: dict[str, Future[Any]] = {}

    def produce(self, step: Step, request: Request) -> Artifact:
        """The step's artifact: from the index if the same action ran before, else made now.

        Args:
            step: what to do.
            request: builds the job's request.

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

    def rest(self, *kinds: Kind) -> None:
        """The barrier: end idle and busy workers of these kinds here, and all that serve this release elsewhere."""
        if self.carrier is not None:
            self.carrier.rest()
        self.workers.close(*kinds)

    def end(self) -> None:
        """End all that runs for this release, here and elsewhere, and take no step any more."""
        self.workers.end()
        if self.carrier is not None:
            self.carrier.end()

    @contextmanager
    def stage(self, name: str, candidate: str | None = None) -> Iterator[Clock]:
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

    def _produce(self, step: Step, action: Action, request: Request) -> Artifact:
        with self.stage(step.name, step.candidate) as stage:
            artifact = None if step.always else lookup(self.store, action)
            stage.reused = artifact is not None
            if artifact is None:
                artifact = self._make_somewhere(step, action, request)
            self.digests.add(artifact.digest)
            return artifact

    def _make_somewhere(self, step: Step, action: Action, request: Request) -> Artifact:
        if step.travels and self.carrier is not None:
            return self.carrier.carry(step, request)
        return self._make(step, action, request)

    def _make(self, step: Step, action: Action, request: Request) -> Artifact:
        with self.store.scratch() as folder:
            result = self._run(step, request(self.store, folder))
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
