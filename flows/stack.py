"""What `up` has started for one installation: its database, ports and processes, as `stack.json` remembers them.

A process is known by its id and, since ids are given anew, by a variable in its environment; what descends from it,
whoever that has become, by that variable alone.
"""

import secrets
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from flows.home import Home
from tasks.foundations.errors import InputError
from tasks.foundations.files import write_whole

if TYPE_CHECKING:
    from psutil import Process

Database = Literal["postgresql", "sqlite"]
HOST = "127.0.0.1"
MARK = "SLIPWAY_SERVICE"
PAUSE_S = 0.1


class Stack(BaseModel):
    """The services of one installation.

    Attributes:
        database: where Prefect, MLflow and the journal keep their rows; chosen once, since the other one knows none.
        note: why it is SQLite, where nobody asked for that.
        ports: service -> the port that it keeps.
        processes: service -> the id of the process that was started last.
        worker: as whom Prefect knows the worker: another name at every start, so that it is told from an earlier one.
    """

    database: Database
    note: str = ""
    ports: dict[str, int] = {}
    processes: dict[str, int] = {}
    worker: str = ""

    @classmethod
    def read(cls, home: Home) -> "Stack | None":
        """What was written; None before the first `up`.

        Raises:
            InputError: the file is not what `up` writes.
        """
        path = _file(home)
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except (ValidationError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} is not as this `up` writes it. Remove the file, run `python -m flows down`, which finds what "
                "still runs without it, and `up` again with the --database that it names: data are kept."
            ) from error

    def write(self, home: Home) -> None:
        """Remember it."""
        write_whole(_file(home), self.model_dump_json(indent=2) + "\n")

    def leader(self, home: Home, name: str) -> "Process | None":
        """The process of a service, if it still runs."""
        import psutil

        if name in self.processes:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(self.processes[name])
                if _bears(process, mark(home, name)):
                    return process
        return None

    def name_worker(self, home: Home) -> None:
        """Give the worker that is to be started its name."""
        if self.leader(home, "worker") is None:
            self.worker = f"up-{secrets.token_hex(4)}"

    def take_ports(self, home: Home, names: Iterable[str]) -> None:
        """Give each service its port; while nothing runs, one that somebody else has taken meanwhile is changed."""
        anything = any(self.leader(home, name) or family(home, name) for name in self.processes)
        with ExitStack() as held:  # all at once, so that none is given twice
            for name in names:
                if name not in self.ports or not (anything or is_free(self.ports[name])):
                    free = held.enter_context(socket.create_server((HOST, 0)))
                    self.ports[name] = free.getsockname()[1]


def stack_lock(home: Home) -> Path:
    """Held by whoever starts or ends services."""
    return home.locks / "stack.lock"


def shell_file(home: Home) -> Path:
    """The variables of a running stack, for a shell to read."""
    return home.root / "stack.sh"


def mark(home: Home, name: str) -> str:
    """What the environment of a service and of all that it starts says in `MARK`."""
    return f"{home.root}:{name}"


def family(home: Home, name: str) -> "list[Process]":
    """All processes that a service has begun, it among them."""
    import psutil

    wanted = mark(home, name)
    return [process for process in psutil.process_iter() if _bears(process, wanted)]


def _bears(process: "Process", wanted: str) -> bool:
    """Whether it runs, and was started for that service."""
    import psutil

    with suppress(psutil.Error, OSError):  # gone meanwhile, or another user's
        return bool(process.environ().get(MARK) == wanted and runs(process))
    return False


def runs(process: "Process") -> bool:
    """Whether it is there and does not only wait to be collected; threads outlive its first one, and hold its ports."""
    import psutil

    try:
        return bool(process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1))
    except psutil.NoSuchProcess:
        return False


def end(processes: "list[Process]", signal: int, within_s: float) -> "list[Process]":
    """Send a signal and wait for their end; gives those that still run."""
    import psutil

    deadline = time.monotonic() + within_s
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)  # psutil looks once more whether it is still the same process
    while (left := [process for process in processes if runs(process)]) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return left


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _file(home: Home) -> Path:
    return home.root / "stack.json"
