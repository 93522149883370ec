"""Running a command as a user would, and what it cost: wall time, and processor time of it and all it started."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes:
        wall_s: from start to end.
        cpu_s: processor time of it and of the processes that it waited for.
        exit_code: its own.
        out, err: what it printed.
    """

    wall_s: float
    cpu_s: float
    exit_code: int
    out: str
    err: str


def run(words: list[str], environment: Mapping[str, str] | None = None, expected: tuple[int, ...] = (0,)) -> Ran:
    """Run `python -m WORDS` in the checkout.

    Raises:
        RuntimeError: another exit code than expected.
    """
    settings = {**os.environ, **(environment or {})}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    before, begin = _children_s(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    ran = Ran(time.monotonic() - begin, _children_s() - before, done.returncode, done.stdout, done.stderr)
    if ran.exit_code not in expected:
        raise RuntimeError(f"{' '.join(words)} ended with {ran.exit_code}:\n{ran.out[-2000:]}\n{ran.err[-4000:]}")
    return ran


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
