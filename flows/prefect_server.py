"""The ephemeral Prefect server: begun before Prefect itself is imported, ended after it, never left behind.

Prefect would start one by itself, but imports its whole server into this process for that, and only then begins: 5 s
later than here.
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows.home import Home
from tasks.foundations.errors import SlipwayError

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
LEAST_FREE_BYTES = 1_000_000  # of a disk that its database could grow on
ENVIRONMENT = {
    # With these Prefect starts its own ephemeral server.
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # No release uses a block, and their registration costs 1.5 s. Nor is it noted as done, so that a server started on
    # the same database for its UI registers them.
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


class Server:
    """A server that is starting or runs."""

    def __init__(self, home: Home) -> None:
        """Start it; `PREFECT_API_URL` names it from now on. It ends with this process, however that ends."""
        home.logs.mkdir(parents=True, exist_ok=True)
        self._log = home.logs / "prefect-server.log"
        # Bound here, so that no other process can take the port before the server has it.
        with socket.create_server(("127.0.0.1", 0)) as listening, self._log.open("a") as log:
            self._url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "flows.prefect_child", str(listening.fileno()), str(os.getpid())],
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the whole group, and uvicorn would stop before the flow has
                stdout=log,
                stderr=log,
                pass_fds=[listening.fileno()],
            )
        os.environ["PREFECT_API_URL"] = self._url
        # Registered before Prefect is imported, so it runs after Prefect has sent its last logs and events.
        atexit.register(self.stop)

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            SlipwayError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                how = "ended" if self._process.poll() is not None else f"did not answer within {START_TIMEOUT_S:g} s"
                raise SlipwayError(
                    f"Prefect's ephemeral server {how}; {self._log} says why.{self._full()} "
                    "Try again, or set PREFECT_API_URL to a running server."
                )
            time.sleep(0.05)

    def _full(self) -> str:
        free = shutil.disk_usage(self._log.parent).free
        return f" The disk of {self._log.parent} is full." if free < LEAST_FREE_BYTES else ""

    def stop(self) -> None:
        """End it and collect its process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/health", timeout=1) as reply:  # noqa: S310 - our own http address
                return bool(reply.status == 200)
        except OSError:  # not listening yet, or busy with its start
            return False


def start(home: Home) -> Server | None:
    """Start an ephemeral server, unless Prefect's settings name a server; then None."""
    return None if is_named() else Server(home)


def is_named() -> bool:
    """Whether Prefect's settings name a server."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    if not _may_be_named():
        return False
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def _may_be_named() -> bool:
    """Whether a file could name a server, so that Prefect must be asked, at the price of its import."""
    if os.environ.get("PREFECT_PROFILES_PATH"):
        return True
    profiles = Path(os.environ["PREFECT_HOME"], "profiles.toml")
    words = {profiles: "PREFECT_API_URL", Path("pyproject.toml"): "[tool.prefect", Path("prefect.toml"): ""}
    words[Path(".env")] = "PREFECT_"
    return any(path.is_file() and word in path.read_text(errors="replace") for path, word in words.items())
