"""An installation of its own for every module, run through the real command line, and one Prefect server for all."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from flows import prefect_server
from tests.flows.installation import ROOT, Installation


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory):
    """API of a Prefect server of this test run: every release would start one of its own, which takes seconds."""
    folder = tmp_path_factory.mktemp("prefect")
    environment = {
        **os.environ,
        **prefect_server.ENVIRONMENT,
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with socket.create_server(("127.0.0.1", 0)) as listening, (folder / "log").open("w") as log:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_child", str(listening.fileno()), str(os.getpid())],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            pass_fds=[listening.fileno()],
        )
    try:
        _await(f"{url}/health", server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(30)


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(f"Prefect's server did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def installation(tmp_path_factory, prefect_url):
    """A new home and a folder for configs; tests of a module share it."""
    return Installation(tmp_path_factory.mktemp("installation"), prefect_url)


@pytest.fixture
def new_installation(tmp_path, prefect_url):
    """A new home for one test alone."""
    return Installation(tmp_path, prefect_url)
