"""A real Dask scheduler and workers as processes: separate homes, one shared store, nothing else in common."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.flows.full_prefect import process, until
from tests.flows.installation import ROOT

DASK = Path(sys.executable).with_name("dask")


class DaskWorld:
    """A scheduler, and workers that are started and killed.

    Attributes:
        folder: of all logs and homes.
        address: of the scheduler.
        store: SLIPWAY_STORE_URL of the workers.
        workers: in the order of their start.
    """

    def __init__(self, folder: Path, stack: ExitStack, **environment: str) -> None:
        self.folder, self._stack = folder, stack
        self.workers: list[DaskWorker] = []
        self.store = str(folder / "store")
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._environment |= {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "SLIPWAY_STORE_URL": self.store}
        self._environment |= {"PYTHONPATH": str(ROOT), **environment}
        file = folder / "scheduler.json"
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = self._start(words, "scheduler.log", {})
        until(file.exists, "the scheduler does not start", 60)
        self.address = str(json.loads(file.read_text())["address"])

    def worker(self, *options: str, **environment: str) -> "DaskWorker":
        """Start a worker and wait until it has joined."""
        name = f"w{len(self.workers) + 1}"
        words = ["worker", self.address, "--nthreads", "1", "--no-dashboard", "--name", name, *options]
        words += ["--local-directory", str(self.folder / name), "--host", "127.0.0.1"]
        home = self.folder / f"home-{name}"
        found = self._start(words, f"{name}.log", {"SLIPWAY_HOME": str(home), **environment})
        until(lambda: "Registered to:" in (self.folder / f"{name}.log").read_text(), f"{name} does not join", 60)
        self.workers.append(DaskWorker(psutil.Process(found.pid), home))
        return self.workers[-1]

    def _start(self, words: list[str], log: str, environment: dict[str, str]) -> psutil.Popen:
        words = [str(DASK), *words]
        return self._stack.enter_context(process(words, self._environment | environment, self.folder / log))


class DaskWorker:
    """One worker.

    Attributes:
        process: that was started.
        home: its SLIPWAY_HOME.
    """

    def __init__(self, process: psutil.Process, home: Path) -> None:
        self.process, self.home = process, home

    def kill(self) -> None:
        """SIGKILL to it and its nanny at once, as when the machine is gone; what it started notices by itself."""
        workers = [child for child in self.process.children() if "spawn_main" in " ".join(child.cmdline())]
        for each in (self.process, *workers):
            each.kill()

    def logs(self) -> set[str]:
        """Of the releases that it has served."""
        return {path.name for path in (self.home / "logs").glob("2*.log")}

    def jobs(self) -> list[psutil.Process]:
        """The processes that it carries out steps in: below its nanny and its worker."""
        workers = self.process.children()
        return [job for worker in workers for job in worker.children() if "spawn_main" in " ".join(job.cmdline())]


@contextmanager
def dask_world(folder: Path, **environment: str) -> Iterator[DaskWorld]:
    """A scheduler without workers, for the block."""
    with ExitStack() as stack:
        yield DaskWorld(folder, stack, **environment)
