"""Who is at work: `clean` must not take an artifact away under a running release, nor a release start under `clean`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.home import Home
from tasks.foundations.errors import Conflict
from tasks.foundations.locks import hold


@contextmanager
def running(home: Home, release: str, owner: str) -> Iterator[list[str]]:
    """Mark a release as running for the block; waits for a `clean` in progress. Gives the releases that were killed."""
    path = home.root / "running" / f"{release}.lock"
    with ExitStack() as stack:
        stack.callback(_remove, path)
        with hold(home.locks / "store.lock", owner):
            killed, _ = _look(home, owner)
            for mark in killed:
                _remove(mark)
            stack.enter_context(hold(path, owner))
        yield [mark.stem for mark in killed]


@contextmanager
def none_running(home: Home) -> Iterator[None]:
    """Keep releases from starting for the block.

    Raises:
        Conflict: one is running; the message names it.
    """
    with hold(home.locks / "store.lock", "clean", timeout_s=0):
        _, conflicts = _look(home, "clean")
        if conflicts:
            raise Conflict(f"A release is running, so nothing is removed: {conflicts[0]}")
        yield


def _look(home: Home, owner: str) -> tuple[list[Path], list[Conflict]]:
    """The marks of killed releases, and what is said of those that run."""
    killed, conflicts = [], []
    for path in (home.root / "running").glob("*.lock"):
        try:
            with hold(path, owner, timeout_s=0):
                killed.append(path)
        except Conflict as conflict:
            conflicts.append(conflict)
    return killed, conflicts


def _remove(path: Path) -> None:
    for file in (path, path.with_suffix(".holder")):
        file.unlink(missing_ok=True)
