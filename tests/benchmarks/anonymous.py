"""Peak memory of every process that is started meanwhile, as far as it is their own.

Counted is anonymous memory, swapped or not (RssAnon + VmSwap of /proc/PID/status): what a process has allocated and
nobody else can have back. Not counted are pages of mapped files, which are the system's cache and given up under
pressure. Processes are looked at ten times a second.
"""

import threading
from collections.abc import Mapping
from pathlib import Path

import psutil

PERIOD_S = 0.1
# What stands in the command line of a process -> what to call it.
KINDS = {
    "multiprocessing.spawn": "worker",
    "tasks.runtimes": "measuring",
    "prefect": "Prefect's server",
    "tests.benchmarks.watched": "release",
}


class Watch:
    """Watches the processes below this one, as a context manager.

    Attributes:
        peaks: kind of process -> bytes of the largest one of it.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def told(self) -> str:
        """`worker 612, release 171 MB`."""
        ordered = sorted(self.peaks.items(), key=lambda each: -each[1])
        return ", ".join(f"{kind} {size / 1e6:.0f}" for kind, size in ordered) + " MB"

    def _run(self) -> None:
        names: dict[int, str] = {}
        while not self._ended.wait(PERIOD_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    size = anonymous(Path("/proc") / str(process.pid) / "status")
                    kind = names.setdefault(process.pid, kind_of(process.cmdline()))
                except (OSError, StopIteration, psutil.Error):  # it has ended meanwhile
                    continue
                self.peaks[kind] = max(self.peaks.get(kind, 0), size)


def anonymous(status: Path) -> int:
    """Bytes of a process."""
    fields: Mapping[str, str] = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap") if name in fields)


def kind_of(words: list[str]) -> str:
    """What to call a process."""
    line = " ".join(words)
    return next((kind for part, kind in KINDS.items() if part in line), "other")
