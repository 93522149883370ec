"""What a worker of a Dask cluster does for releases: it carries out their steps, in worker processes of its own.

Its store is the release's, everything else is its own: `SLIPWAY_HOME`, the processes, the files of the user's code.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from flows.fitness import Facts, differences, facts
from flows.home import home
from flows.storage import open_store
from tasks.execution.settings import Execution
from tasks.execution.steps import Executor, Request, Step
from tasks.foundations import progress
from tasks.foundations.errors import SlipwayError, StepFailed
from tasks.foundations.workers import Workers
from tasks.store.artifact import Artifact
from tasks.store.store import Store

IDLE_S = 30.0  # processes that wait for the next step are kept so long
WATCH_S = 0.5


@dataclass(frozen=True)
class Assignment:
    """One step for a worker of the cluster: records, digests and a function, never arrays or models.

    Attributes:
        release: id of the release.
        step: what to do.
        request: builds the job's request from the worker's store.
        seed: of the release.
        step_timeout_s: limit of one step.
        memory_limit_gb: of one process; None: the machine's.
        facts: what the worker must be like.
    """

    release: str
    step: Step
    request: Request
    seed: int
    step_timeout_s: float
    memory_limit_gb: float | None
    facts: Facts

    @property
    def topic(self) -> str:
        """Under which the worker tells how far it is."""
        return topic(self.release)


def topic(release: str) -> str:
    """Under which the workers tell a release how far they are."""
    return f"slipway-{release}"


def carry_out(assignment: Assignment) -> Artifact:
    """The step's artifact, published in the store that all share.

    Raises:
        StepFailed: the step failed, or this worker, which has joined since the release began, is not fit for it.
    """
    different = differences(facts(), assignment.facts)
    if different:
        raise StepFailed(
            f"the Dask worker on {socket.gethostname()} is not like the machine of the release: {different}. Give both "
            "the same installation."
        )
    with _entered(assignment) as site:
        try:
            return site.executor.produce(assignment.step, assignment.request)
        except SlipwayError as error:
            error.__context__ = None
            raise error.with_traceback(None) from None  # what came before it need not be readable elsewhere


def leave(release: str) -> None:
    """End all processes that serve a release here."""
    with _lock:
        site = _sites.pop(release, None)
    if site is not None:
        site.end()


class _Site:
    """What serves one release in this process. It ends when its steps are not wanted any more, or none has come."""

    def __init__(self, assignment: Assignment, worker: Any) -> None:
        self._worker = worker
        self._running: set[str] = set()
        self._rested = time.monotonic()
        self._ended = threading.Event()
        self._stack = ExitStack()
        place, store, slots = home(), _store(), int(worker.state.nthreads)
        store.sweep_scratch()
        progress.sweep(place.logs)
        limits = Execution(workers=slots, memory_limit_gb=assignment.memory_limit_gb)
        settings = limits.worker_settings(slots, str(place.logs / f"{assignment.release}.log"))
        temporary = self._stack.enter_context(store.scratch())
        workers = self._stack.enter_context(Workers(settings.model_copy(update={"temporary": str(temporary)})))
        telling = _Telling(worker, assignment.topic)
        self.executor = Executor(
            store, workers, telling, seed=assignment.seed, step_timeout_s=assignment.step_timeout_s
        )
        threading.Thread(target=self._watch, args=(assignment.release,), daemon=True).start()

    def enter(self, key: str) -> None:
        """A step begins."""
        self._running.add(key)

    def rest(self, key: str) -> None:
        """It ended."""
        self._running.discard(key)
        self._rested = time.monotonic()

    def end(self) -> None:
        """End its processes; steps that run fail."""
        self._ended.set()
        self.executor.workers.end()
        self._stack.close()

    def _watch(self, release: str) -> None:
        """Dask cannot stop what runs in a thread: a release that was interrupted or killed is noticed here."""
        while not self._ended.wait(WATCH_S):
            with _lock:
                running = list(self._running)
                if any(self._is_wanted(key) for key in running):
                    continue
                if not running and time.monotonic() - self._rested < IDLE_S:
                    continue
                _sites.pop(release, None)  # a step that comes now gets a new one
            self.end()

    def _is_wanted(self, key: str) -> bool:
        task = self._worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"


class _Telling:
    """An observer that passes on to the release, through the scheduler, how far a step is."""

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker, self._topic = worker, topic

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""
        self.update(stage, candidate, f"on {self._worker.address}")

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A stage says how far it is."""
        self._worker.log_event(self._topic, {"stage": stage, "candidate": candidate, "text": text})

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """Where the release runs, its own observer is told."""

    def log(self, message: str) -> None:
        """Steps say no sentences."""


_sites: dict[str, _Site] = {}
_lock = threading.Lock()


@cache
def _store() -> Store:
    return open_store(home())


@contextmanager
def _entered(assignment: Assignment) -> Iterator[_Site]:
    from distributed import get_worker

    worker = get_worker()
    key = str(worker.get_current_task())
    with _lock:
        site = _sites.get(assignment.release)
        if site is None:
            site = _sites[assignment.release] = _Site(assignment, worker)
        site.enter(key)
    try:
        yield site
    finally:
        with _lock:
            site.rest(key)
