"""Locks of the operating system: a killed holder frees them, and whoever waits can say who holds them."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.foundations.errors import Conflict
from tasks.foundations.files import write_whole
from tasks.foundations.processes import is_alive

SIGNED_WITHIN_S = 1.0


def machine_lock(name: str) -> Path:
    """Path of a lock shared by all users and checkouts of this machine."""
    return Path(tempfile.gettempdir()) / f"slipway-{name}.lock"


@contextmanager
def hold(
    path: Path, owner: str, *, on_wait: Callable[[str], None] | None = None, timeout_s: float = -1
) -> Iterator[None]:
    """Hold an exclusive lock for the duration of the block.

    Args:
        path: the lock file; it stays behind, which is harmless.
        owner: who holds it, in words, for those who wait.
        on_wait: called once with a sentence about the present holder if the lock is not free.
        timeout_s: give up after so many seconds; negative waits for ever.

    Raises:
        Conflict: not free within `timeout_s`; the message names the holder.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o666, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait:
            on_wait(f"waiting for {holder(path)}")
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise Conflict(f"{path.stem} is held by {holder(path)}. Try again when it has finished.") from error
    try:
        _sign(path, owner)
        yield
    finally:
        with suppress(OSError):  # before the lock is free, so that it cannot be the next holder's
            _note(path).unlink()
        lock.release()


def holder(path: Path) -> str:
    """Who holds the lock, in words: owner, process and since when.

    A lock that was just taken is not signed yet, or still bears the note of a holder that was killed.
    """
    deadline = time.monotonic() + SIGNED_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            note = json.loads(_note(path).read_text())
            if is_alive(int(note["pid"])):
                return f"{note['owner']} (process {note['pid']}, since {note['since']})"
        time.sleep(0.01)
    return "another process"


def _sign(path: Path, owner: str) -> None:
    note = {"owner": owner, "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    with suppress(PermissionError):  # another user's note in a shared folder: the lock holds all the same
        write_whole(_note(path), json.dumps(note))


def _note(path: Path) -> Path:
    return path.with_suffix(".holder")
