"""Jobs for the tests of fan-out: each leaves a note of who runs it; some then wait, fail or die."""

import json
import os
import signal
import time
from pathlib import Path

from tasks.foundations.errors import NotApplicable, StepFailed
from tasks.foundations.progress import report
from tasks.foundations.record import Record


class Errand(Record):
    """A job's request.

    Attributes:
        out: folder to fill.
        notes: folder that all jobs of a test share.
        text: what to write.
        together: how many jobs must run at the same time before any of them ends.
        wait_s: how long to wait instead of computing.
        source: folder of an artifact whose text goes before its own.
    """

    out: str
    notes: str
    text: str = "1"
    together: int = 1
    wait_s: float = 0
    source: str | None = None


def write(errand: Errand) -> Errand:
    _note(errand)
    report("writing")
    time.sleep(errand.wait_s)
    before = (Path(errand.source) / "file").read_text() if errand.source else ""
    (Path(errand.out) / "file").write_text(before + errand.text)
    return errand


def meet(errand: Errand) -> Errand:
    """End only when so many are here at once."""
    _note(errand)
    end = time.monotonic() + 60
    while len(list(Path(errand.notes).iterdir())) < errand.together:
        if time.monotonic() > end:
            raise StepFailed(f"only {len(list(Path(errand.notes).iterdir()))} jobs ran at once")
        time.sleep(0.02)
    return write(errand.model_copy(update={"notes": errand.out}))


def hang(errand: Errand) -> Errand:
    _note(errand)
    time.sleep(600)
    return errand


def die(errand: Errand) -> Errand:
    _note(errand)
    os.kill(os.getpid(), signal.SIGKILL)
    return errand


def fail(errand: Errand) -> Errand:
    write(errand)
    raise StepFailed("half-way")


def refuse(_: Errand) -> Errand:
    raise NotApplicable("nothing to change in this model")


def _note(errand: Errand) -> None:
    notes = Path(errand.notes)
    notes.mkdir(exist_ok=True)
    who = {"pid": os.getpid(), "dask": os.getppid(), "home": os.environ.get("SLIPWAY_HOME")}
    path = notes / f"{errand.text}-{os.getpid()}-{time.monotonic_ns()}"
    path.with_name(f".{path.name}").write_text(json.dumps(who))
    path.with_name(f".{path.name}").rename(path)


def run_into_a_timeout() -> None:
    """As a file system does that cannot be reached."""
    raise TimeoutError("the disk is slow")
