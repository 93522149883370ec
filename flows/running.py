"""Who is at work: `clean` must not take an artifact away under a running release, nor a release start under `clean`."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.home import Home
from tasks.foundations.errors import Conflict
from tasks.foundations.locks import hold


@contextmanager
def running(home: Home, release: str, owner: str) -> Iterator[list[str]]:
    """Mark a release as running for the block; waits for a `clean` in progress. Gives the releases that were killed."""
    path = _mark(home, release)
    with ExitStack() as stack:
        with hold(home.locks / "store.lock", owner):
            killed, _ = _look(home, owner)
            stack.enter_context(hold(path, owner))
            stack.callback(_remove, path)  # before its lock is free: what is free and still there was killed
        yield [mark.stem for mark in killed]


def forget(home: Home, killed: Iterable[str]) -> None:
    """Remove the marks of killed releases."""
    for release in killed:
        _remove(_mark(home, release))


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


def _mark(home: Home, release: str) -> Path:
    return home.root / "running" / f"{release}.lock"


def _remove(path: Path) -> None:
    for file in (path, path.with_suffix(".holder")):
        file.unlink(missing_ok=True)
