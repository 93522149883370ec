"""A whole Prefect server with its scheduler and its UI, and a worker of a pool: what people run beside Slipway."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.flows.installation import ROOT

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PREFECT = Path(sys.executable).with_name("prefect")


class FullServer:
    """The server, asked as its UI asks it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment |= {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
            "DO_NOT_TRACK": "1",
        }

    def call(self, path: str, data: dict[str, Any] | None = None) -> Any:
        """What the server answers; it asks to come again (503) while its SQLite database is busy."""
        body = None if data is None else json.dumps(data).encode()
        for _ in range(30):
            request = urllib.request.Request(self.api + path, body, headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    return json.loads(reply.read() or "null")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            time.sleep(1)
        raise AssertionError(f"{path} is never answered")

    def press_run(self, deployment: str, parameters: dict[str, Any], message: str | None = "") -> str:
        """What its UI sends for the form behind the button `Run`; the id of the run."""
        found = self.call(f"/deployments/name/{deployment}")["id"]
        state = {"type": "SCHEDULED", "message": message}
        run = self.call(f"/deployments/{found}/create_flow_run", {"state": state, "parameters": parameters})
        return str(run["id"])

    def ended(self, run: str, seconds: float = 300) -> dict[str, Any]:
        """A run that has ended."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            found.update(self.call(f"/flow_runs/{run}"))
            return found["state_type"] in ENDED

        until(has_ended, f"run {run} has not ended", seconds)
        return found

    def runs(self, **where: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("/flow_runs/filter", {"flow_runs": where})
        return found

    def logs(self, run: str) -> str:
        where = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(each["message"] for each in self.call("/logs/filter", where))


@contextmanager
def full_server(folder: Path) -> Iterator[FullServer]:
    """A server that has started."""
    server = FullServer(folder)
    words = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(server.port)]
    with process([str(word) for word in words], server.environment, folder / "server.log"):
        until(lambda: _answers(f"{server.api}/health"), "Prefect's server does not start", 120)
        yield server


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process group for the block."""
    with log.open("w") as out:
        started = subprocess.Popen(words, env=environment, stdout=out, stderr=out, cwd=ROOT, start_new_session=True)
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def until(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
