"""The ephemeral Prefect server: a child process that must not outlive the release, even one that was killed."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.home import Home
from tasks.foundations.errors import SlipwayError


@contextmanager
def running(home: Home) -> Iterator[None]:
    """Prefect's API for the block: the server of `PREFECT_API_URL`, else an ephemeral one that is ended after it.

    Raises:
        SlipwayError: the ephemeral server does not start.
    """
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    notes = home.root / "prefect" / "servers"
    _reap(notes)
    server = SubprocessASGIServer()
    try:
        server.start()
    except RuntimeError as error:
        raise SlipwayError(f"{error} Look at {home.logs}, or set PREFECT_API_URL to a running server.") from error
    note = notes / f"{os.getpid()}.json"
    try:
        notes.mkdir(parents=True, exist_ok=True)
        if server.server_process is not None:
            note.write_text(json.dumps({"parent": os.getpid(), "server": server.server_process.pid}))
        yield
    finally:
        server.stop()
        note.unlink(missing_ok=True)


def _reap(notes: Path) -> None:
    """End servers whose release was killed: their parent is gone, and nobody else would."""
    for note in notes.glob("*.json"):
        with suppress(ValueError, KeyError, FileNotFoundError):
            content = json.loads(note.read_text())
            if Path(f"/proc/{content['parent']}").exists():
                continue
            if b"prefect" in Path(f"/proc/{content['server']}/cmdline").read_bytes():
                os.kill(content["server"], signal.SIGTERM)
        note.unlink(missing_ok=True)
