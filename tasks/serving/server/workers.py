"""Several serving processes on one port: they share a socket that this process has opened, and it keeps them alive.

Python runs one thread at a time, so a second core needs a second process. Each follows the pointer by itself and is a
node of its own, so a move waits for every one of them.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from tasks.foundations.errors import InputError, SlipwayError
from tasks.serving.server.metrics import SHARED
from tasks.serving.server.run import BACKLOG_S, FAREWELL_S, Announce, listen, log_to_stderr
from tasks.serving.server.settings import ServeSettings

LOOK_SECONDS = 0.1
SHORTEST_LIFE_S = 5.0
MOST_WAIT_S = 10.0

log = logging.getLogger(__name__)


class _Worker:
    """One child and how often it died soon after its start."""

    def __init__(self, settings: ServeSettings, fd: int, index: int, environment: dict[str, str]) -> None:
        port = settings.admin_port and settings.admin_port + index
        own = settings.model_copy(update={"workers": 1, "admin_port": port, "parent": os.getpid()})
        self._settings, self._fd, self._environment = own, fd, environment
        self._deaths, self._next = 0, 0.0
        self.start(load_first=False)

    def start(self, load_first: bool) -> None:
        """Begin a process; one that takes another's place answers when it is ready, the others do meanwhile."""
        told = self._settings.model_copy(update={"load_first": load_first}).model_dump_json()
        self._began = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tasks.serving.server", told, str(self._fd)],
            pass_fds=(self._fd,),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the parent, which tells them
        )

    def announced(self) -> dict[str, Any]:
        """What it says when it serves; its error if it does not come that far."""
        stream = self.process.stdout
        line = stream.readline() if stream else b""
        return json.loads(line) if line else {"error": f"a worker ended with {self.process.wait()}"}

    def revive(self) -> None:
        """Start it again if it has died; one that dies young waits longer each time."""
        code = self.process.poll()
        if code is None or time.monotonic() < self._next:
            return
        if not self._next:
            young = time.monotonic() - self._began < SHORTEST_LIFE_S
            self._deaths = self._deaths + 1 if young else 0
            wait_s = min(MOST_WAIT_S, 0.1 * 2**self._deaths) if young else 0.0
            self._next = time.monotonic() + wait_s
            _forget_metrics(self.process.pid, self._environment[SHARED])
            log.error("worker %d ended with %d; another one starts in %.1f s", self.process.pid, code, wait_s)
            return
        self._next = 0.0
        self.start(load_first=True)


def supervise(settings: ServeSettings, announce: Announce) -> None:
    """Run the workers until SIGTERM or SIGINT; see `run`."""
    if settings.grpc_port == 0:
        raise InputError("Several workers share one gRPC port, so it must be given: --grpc-port 9000, not 0.")
    log_to_stderr(settings.json_log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, lambda *_: stop.set())
    public = listen(settings.host, settings.port)
    public.set_inheritable(True)
    with tempfile.TemporaryDirectory(prefix="slipway-metrics-") as folder:
        environment = {**os.environ, SHARED: folder}
        workers = [_Worker(settings, public.fileno(), index, environment) for index in range(settings.workers)]
        try:
            told = [worker.announced() for worker in workers]
            for error in (each["error"] for each in told if "error" in each):
                raise SlipwayError(error)
            announce(
                {
                    **told[0],
                    "pid": os.getpid(),
                    "workers": [{k: each.get(k) for k in ("pid", "admin")} for each in told],
                }
            )
            while not stop.wait(LOOK_SECONDS):
                for worker in workers:
                    worker.revive()
        finally:
            _end(workers, public, settings.drain_s)


def _forget_metrics(pid: int, folder: str) -> None:
    """What a process that has died was doing is no more; what it had counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def _end(workers: list[_Worker], public: socket.socket, drain_s: float) -> None:
    for worker in workers:
        worker.process.terminate()
    time.sleep(min(FAREWELL_S, drain_s))
    public.listen(0)
    time.sleep(BACKLOG_S)
    public.close()  # what this process holds open, nobody would answer any more
    for worker in workers:
        try:
            worker.process.wait(drain_s + 10)
        except subprocess.TimeoutExpired:
            worker.process.kill()
