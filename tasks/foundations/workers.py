"""Worker processes: TensorFlow and user code never run in the orchestrating process.

Each process is a pebble pool of one: a job that is killed, hangs or runs out of memory costs only itself (loky and the
standard library lose the whole pool). Settings are made before any heavy import, which is why a kind exists:
`legacy` workers see tf_keras as `tf.keras` for their whole life, `keras3` workers never do, and `plain` workers, for
the registry, never import TensorFlow.
"""

import importlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tasks.foundations.errors import SlipwayError, StepFailed, TimedOut, WorkerKilled
from tasks.foundations.imports import importing
from tasks.foundations.progress import follow, open_channel
from tasks.foundations.record import Record

Kind = Literal["keras3", "legacy", "plain"]
ENVIRONMENT: dict[Kind, dict[str, str]] = {
    "keras3": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"},
    "legacy": {"TF_USE_LEGACY_KERAS": "1"},
    "plain": {},
}
# Almost every job needs them, and at the start they overlap with that of the parent.
IMPORTS: dict[Kind, tuple[str, ...]] = {
    "keras3": ("tensorflow", "keras"),
    "legacy": ("tensorflow", "tf_keras"),
    "plain": (),
}
JOBS_BEFORE_REPLACEMENT = 50  # TensorFlow's graphs and arenas are never given back wholly
POLL_S = 0.1
START_S = 4.0  # what the start of a worker costs, nearly all of it importing TensorFlow


class WorkerSettings(Record):
    """How worker processes are set up.

    Attributes:
        count: processes at once.
        threads: threads of each for numerical work, cores // count.
        memory_limit_bytes: address space of each worker; allocations beyond it fail with a readable error.
        log: file that takes what libraries and user code print.
        temporary: folder for temporary files, removed by whoever made it: a killed worker cleans nothing up. Default:
            the system's.
    """

    count: int
    threads: int
    memory_limit_bytes: int | None = None
    log: str
    temporary: str | None = None


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
            process.schedule(_ready, args=modules)

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
                future = process.schedule(_perform, args=(job, request, seed, str(channel)), timeout=timeout_s)
                follow(channel, future, on_progress, lambda: self._is_gone(kind, process), POLL_S)
                return future.result()
            except BaseException as error:
                raise _explained(self._meaning(error, kind, process), job, timeout_s, self.settings.log) from error

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
    # that not even a process that has not come to `_initialize` yet prints a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = ProcessPool(
            max_workers=1,
            max_tasks=JOBS_BEFORE_REPLACEMENT,
            context=get_context("spawn"),
            initializer=_initialize,
            initargs=(kind, settings, os.getpid()),
        )
        assert process.active  # noqa: S101 - asking starts its threads
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _initialize(kind: Kind, settings: WorkerSettings, parent: int) -> None:
    """Runs in the new process before anything heavy is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where user code unblocks it
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    os.environ.update(ENVIRONMENT[kind])
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(settings.threads)
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
    os.environ |= {"MPLBACKEND": "Agg", "SCIPY_ARRAY_API": "0"}
    if settings.temporary is not None:
        os.environ["TMPDIR"] = settings.temporary
    _divert_output(Path(settings.log))
    _limit_memory(settings.memory_limit_bytes)
    _import(IMPORTS[kind])


def _import(modules: tuple[str, ...]) -> None:
    with importing():
        for module in modules:
            importlib.import_module(module)


def _end_with_parent(parent: int) -> None:
    """A watchdog instead of PDEATHSIG, which fires when the thread that spawned the worker ends."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def _divert_output(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _limit_memory(limit_bytes: int | None) -> None:
    if limit_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _ready(*modules: str) -> None:
    _import(modules)


def _perform(job: str, request: Record, seed: int, channel: str) -> Any:
    from tasks.foundations import progress

    progress.use(Path(channel))
    _reset(seed)
    module, _, function = job.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(request)
    except (SlipwayError, MemoryError):
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - anything; the traceback goes to the log
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        raise StepFailed(_sentence(error)) from None


def _reset(seed: int) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # user code and libraries use the global one
    if "keras" in sys.modules or "tf_keras" in sys.modules:
        import tensorflow as tf

        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)


def _sentence(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)[:600] or "no message"
    if type(error).__name__ == "ResourceExhaustedError":
        return f"out of memory: {text}"
    return f"{type(error).__name__}: {text}"


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
