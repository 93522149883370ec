"""What runs inside a worker process: its settings, made before anything heavy is imported, and the jobs themselves."""

import importlib
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

from tasks.foundations import progress
from tasks.foundations.errors import SlipwayError, StepFailed
from tasks.foundations.imports import importing
from tasks.foundations.record import Record

Kind = Literal["keras3", "legacy", "plain"]
ENVIRONMENT: dict[Kind, dict[str, str]] = {
    "keras3": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0", "CUDA_VISIBLE_DEVICES": "-1"},
    "legacy": {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"},
    "plain": {},  # a target's accelerator is found from here
}
# Almost every job needs them, and at the start they overlap with that of the parent.
IMPORTS: dict[Kind, tuple[str, ...]] = {
    "keras3": ("tensorflow", "keras"),
    "legacy": ("tensorflow", "tf_keras"),
    "plain": (),
}

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Keras prints some of its errors in bold


class WorkerSettings(Record):
    """How worker processes are set up.

    Attributes:
        count: processes at once.
        threads: threads of each for numerical work, cores // count.
        memory_limit_bytes: of each worker, mapped files not counted; allocations beyond it fail with a readable error.
        log: file that takes what libraries and user code print.
        temporary: folder for temporary files, removed by whoever made it: a killed worker cleans nothing up. Default:
            the system's.
    """

    count: int
    threads: int
    memory_limit_bytes: int | None = None
    log: str
    temporary: str | None = None


def initialize(kind: Kind, settings: WorkerSettings, parent: int) -> None:
    """Set the new process up; it ends when the process `parent` is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where user code unblocks it
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    os.environ.update(ENVIRONMENT[kind])
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(settings.threads)
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
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

        # Not RLIMIT_AS: data sets are mapped, and may be larger than memory.
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def ready(*modules: str) -> None:
    """Import these modules."""
    _import(modules)


def perform(job: str, request: Record, seed: int, channel: str) -> Any:
    """Run a job, `package.module:function`; its progress goes to the file `channel`.

    Raises:
        SlipwayError: what the job raised; StepFailed for an exception of a library, whose traceback goes to the log.
    """
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
    lines = [line.strip() for line in COLOURS.sub("", str(error)).splitlines() if line.strip()]
    text = " ".join(lines)[:600] or "no message"
    if type(error).__name__ == "ResourceExhaustedError":
        return f"out of memory: {text}"
    return f"{type(error).__name__}: {text}"
