"""What `up` has started for one installation: its database, ports and processes, as `stack.json` remembers them.

A process is known by its id and the time of its start, since ids are given anew; what descends from it, whoever that
has become, by a variable in its environment.
"""

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
SAME_START_S = 1.0
"""How far two readings of a start may lie apart: the system reckons it from a clock that is adjusted."""
PAUSE_S = 0.1


class Started(BaseModel):
    """A process.

    Attributes:
        pid: its id.
        born: when it began, in seconds since 1970.
    """

    pid: int
    born: float


class Stack(BaseModel):
    """The services of one installation.

    Attributes:
        database: where Prefect, MLflow and the journal keep their rows; chosen once, since the other one knows none.
        note: why it is SQLite, where nobody asked for that.
        ports: service -> the port that it keeps.
        processes: service -> the process that was started last.
    """

    database: Database
    note: str = ""
    ports: dict[str, int] = {}
    processes: dict[str, Started] = {}

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
                f"{path} is not as `up` writes it. End the services by hand, remove the file and run `up` again."
            ) from error

    def write(self, home: Home) -> None:
        """Remember it."""
        write_whole(_file(home), self.model_dump_json(indent=2) + "\n")

    def leader(self, name: str) -> "Process | None":
        """The process of a service, if it still runs."""
        import psutil

        if name in self.processes:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(self.processes[name].pid)
                if abs(process.create_time() - self.processes[name].born) < SAME_START_S and runs(process):
                    return process
        return None

    def take_ports(self, home: Home, names: Iterable[str]) -> None:
        """Give each service its port; while nothing runs, one that somebody else has taken meanwhile is changed."""
        anything = any(self.leader(name) or family(home, name) for name in self.processes)
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

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone meanwhile, or another user's
            if process.environ().get(MARK) == mark(home, name) and runs(process):
                found.append(process)
    return found


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
