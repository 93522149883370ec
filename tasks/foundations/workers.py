"""Worker processes: TensorFlow and user code never run in the orchestrating process.

Each process is a pebble pool of one: a job that is killed, hangs or runs out of memory costs only itself (loky and the
standard library lose the whole pool). Settings are made before any heavy import, which is why a kind exists:
`legacy` workers see tf_keras as `tf.keras` for their whole life, `keras3` workers never do, and `plain` workers, for
the registry, never import TensorFlow.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.foundations import worker_process
from tasks.foundations.errors import SlipwayError, StepFailed, TimedOut, WorkerKilled
from tasks.foundations.progress import follow, open_channel
from tasks.foundations.record import Record
from tasks.foundations.worker_process import ENVIRONMENT, Kind, WorkerSettings

JOBS_BEFORE_REPLACEMENT = 50  # TensorFlow's graphs and arenas are never given back wholly
POLL_S = 0.1
START_S = 4.0  # what the start of a worker costs, nearly all of it importing TensorFlow


class Workers:
    """Worker processes of every kind, started as they are needed. Use as a context manager.

    A further process of a kind is started only when a job has waited for as long as the start of one takes: for many
    short jobs one warm process is faster than two, of which each has its own imports to pay.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self._all: dict[Kind, list[Any]] = {kind: [] for kind in ENVIRONMENT}  # pebble pools of one process each
        self._idle: dict[Kind, list[Any]] = {kind: [] for kind in ENVIRONMENT}
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End all workers at once and take no job any more: who waits for one fails."""
        with self._changed:
            self._ended = True
        self.close()

    def warm(self, kind: Kind = "keras3", *modules: str) -> None:
        """Start a process now and let it import these modules, so that this overlaps with other work."""
        with self._process(kind) as process:
            process.schedule(worker_process.ready, args=modules)

    def run(
        self,
        job: str,
        request: Record,
        *,
        kind: Kind = "keras3",
        seed: int = 0,
        timeout_s: float | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> Any:
        """Run one job in a worker and wait for its record.

        Args:
            job: `package.module:function`, a top-level function of one Record that returns a Record.
            request: its argument.
            kind: which kind of worker.
            seed: Python, numpy and Keras are seeded with it first.
            timeout_s: limit of the job's own running time; waiting for a worker does not count.
            on_progress: called with what the job reports about its progress.

        Raises:
            SlipwayError: what the job raised; StepFailed for an exception of a library.
            TimedOut: the limit was exceeded; the worker was killed.
            WorkerKilled: the worker died without an answer.
        """
        with self._process(kind) as process, open_channel(Path(self.settings.log).parent) as channel:
            try:
                future = process.schedule(
                    worker_process.perform, args=(job, request, seed, str(channel)), timeout=timeout_s
                )
                follow(channel, future, on_progress, lambda: self._is_gone(kind, process), POLL_S)
                return future.result()
            except BaseException as error:
                meaning = self._meaning(error, kind, process)
                if isinstance(meaning, ProcessLookupError):
                    self._drop(kind, process)
                explained = _explained(meaning, job, timeout_s, self.settings.log)
                if explained is error:
                    raise  # from itself would be a ring, which those who follow causes never leave
                raise explained from error

    def close(self, *kinds: Kind) -> None:
        """End all workers of these kinds at once, busy or idle; of every kind if none is named."""
        with self._changed:
            processes = [process for kind in kinds or ENVIRONMENT for process in self._all[kind]]
            for kind in kinds or ENVIRONMENT:
                self._all[kind], self._idle[kind] = [], []
            self._changed.notify_all()
        for process in processes:
            process.stop()
        for process in processes:
            process.join()

    def _meaning(self, error: BaseException, kind: Kind, process: Any) -> BaseException:
        """What pebble means by an error: it says the same of a process that was stopped and one that cannot start."""
        if isinstance(error, Exception) and self._is_gone(kind, process):
            return CancelledError()
        if isinstance(error, RuntimeError) and not process.active:
            return BrokenExecutor()
        return error

    def _drop(self, kind: Kind, process: Any) -> None:
        """Take no job to a process any more whose pool waits for it in vain."""
        with self._changed:
            if process in self._all[kind]:
                self._all[kind].remove(process)
        process.stop()

    def _is_gone(self, kind: Kind, process: Any) -> bool:
        return process not in self._all[kind]

    @contextmanager
    def _process(self, kind: Kind) -> Iterator[Any]:
        """A process that is nobody else's meanwhile."""
        process = self._take(kind)
        failed = True
        try:
            yield process
            failed = False
        finally:
            with self._changed:
                if process in self._all[kind] and not process.active:
                    self._all[kind].remove(process)  # it could not start; the next job tries again
                elif process in self._all[kind]:
                    # Taken last next time after a failure: it may have been killed, and its successor still imports.
                    self._idle[kind].insert(0 if failed else len(self._idle[kind]), process)
                self._changed.notify_all()

    def _take(self, kind: Kind) -> Any:
        most = 1 if kind == "plain" else self.settings.count
        begin = time.monotonic()
        with self._changed:
            while not self._ended:
                if self._idle[kind]:
                    return self._idle[kind].pop()
                patience = START_S - (time.monotonic() - begin) if self._all[kind] else 0.0
                if patience <= 0 and len(self._all[kind]) < most:
                    self._all[kind].append(_new_process(kind, self.settings))
                    return self._all[kind][-1]
                self._changed.wait(patience if patience > 0 else None)
        raise StepFailed("A job came when the release was ending.")


def _new_process(kind: Kind, settings: WorkerSettings) -> Any:
    from multiprocessing import get_context, resource_tracker

    from pebble import ProcessPool

    resource_tracker.ensure_running()  # its start would unblock SIGINT again
    # Ctrl-C reaches the whole group; the parent decides. A thread and what it starts inherit what is blocked here, so
    # that not even a process that has not come to `initialize` yet prints a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = ProcessPool(
            max_workers=1,
            max_tasks=JOBS_BEFORE_REPLACEMENT,
            context=get_context("spawn"),
            initializer=worker_process.initialize,
            initargs=(kind, settings, os.getpid()),
        )
        assert process.active  # noqa: S101 - asking starts its threads
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _explained(error: BaseException, job: str, timeout_s: float | None, log: str) -> BaseException:
    from pebble import ProcessExpired

    name = job.rpartition(":")[2].replace("_", " ")
    if isinstance(error, SlipwayError | KeyboardInterrupt | SystemExit):
        return error
    if isinstance(error, TimeoutError):
        return TimedOut(
            f"{name} ran longer than its limit of {timeout_s:g} s and was stopped. "
            "Raise execution.step_timeout_s in the config if the step really needs more."
        )
    if isinstance(error, MemoryError):
        return StepFailed(
            f"{name} ran out of memory. Free memory, make batches smaller, or raise execution.memory_limit_gb."
        )
    if isinstance(error, ProcessLookupError):
        return WorkerKilled(
            f"the worker process of {name} ended (exit code 0) before it answered. Something in it called exit; {log} "
            "may say what."
        )
    if isinstance(error, ProcessExpired):
        return WorkerKilled(f"the worker process of {name} died ({_cause(error.exitcode)}) before it answered.")
    if isinstance(error, CancelledError):
        return StepFailed(f"{name} was cancelled because the release is ending.")
    if isinstance(error, BrokenExecutor):
        return WorkerKilled(
            f"the worker process of {name} did not start; {log} says why. A low execution.memory_limit_gb can be it."
        )
    return error


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}; the system's out-of-memory killer sends it too" if name == "SIGKILL" else name
    return f"exit code {exit_code}"
