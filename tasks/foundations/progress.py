"""What a running job tells about itself, `epoch 3 of 15` for example, without any lock shared between processes.

A queue's lock dies with a killed worker and then blocks the others; a small file a job cannot. The worker replaces
the file's content, its process id and a text, and the waiting thread looks at it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.foundations.processes import is_alive

PREFIX = ".progress-"
GRACE_S = 2.0  # for pebble to notice by itself that a process has died
_channel: Path | None = None
_worker = 0


def report(text: str) -> None:
    """Say how far the present job is; does nothing outside a worker."""
    if _channel is None:
        return
    # A file made anew would stay: who has removed it does not wait for this job any more.
    with suppress(FileNotFoundError), os.fdopen(os.open(_channel, os.O_WRONLY | os.O_TRUNC), "w") as stream:
        stream.write(f"{_worker}\n{text}")


def report_epoch(epoch: int, epochs: int, loss: float, metric: float) -> None:
    """Say how far a training is."""
    report(f"epoch {epoch} of {epochs}: loss {loss:.4f}, {metric:.4f}")


def use(channel: Path) -> None:
    """Direct `report` of this process to a channel."""
    global _channel, _worker
    _channel, _worker = channel, os.getpid()  # a child that the job forks reports for it
    report("")


@contextmanager
def open_channel(folder: Path) -> Iterator[Path]:
    """A new channel, removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def sweep(folder: Path) -> None:
    """Remove channels of processes that were killed."""
    for channel in folder.glob(f"{PREFIX}*"):
        pid = channel.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            channel.unlink(missing_ok=True)


def follow(
    channel: Path,
    future: Any,
    on_progress: Callable[[str], None] | None,
    is_gone: Callable[[], bool],
    poll_s: float,
) -> None:
    """Wait for a future and pass each new text on; exceptions of the future are left for `future.result()`.

    Raises:
        CancelledError: its process was stopped, and pebble tells the future of a stopped process nothing.
        ProcessLookupError: its process has left by itself, with exit code 0, which pebble does not notice.
    """
    last, left = "", 0
    while not future.done():
        if is_gone():
            raise CancelledError
        with suppress(NotYet):
            future.exception(timeout=poll_s)
        process, whole, text = channel.read_text().partition("\n")
        if text and text != last and on_progress:
            on_progress(text)
            last = text
        left = left + 1 if whole and not is_alive(int(process)) else 0
        if left * poll_s > GRACE_S and not future.done():
            raise ProcessLookupError
