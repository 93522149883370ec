"""The ephemeral Prefect server: a child process that must not outlive the release, even one that was killed."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from flows.home import Home
from tasks.foundations.errors import SlipwayError


def start(home: Home) -> None:
    """Start Prefect's ephemeral server unless `PREFECT_API_URL` names one; Prefect ends it when this process exits.

    Raises:
        SlipwayError: it does not start.
    """
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        return
    from prefect.server.api.server import SubprocessASGIServer

    notes = home.root / "prefect" / "servers"
    notes.mkdir(parents=True, exist_ok=True)
    _reap(notes)
    server = SubprocessASGIServer()
    try:
        server.start()
    except RuntimeError as error:
        raise SlipwayError(f"{error} Try again, or set PREFECT_API_URL to a running server.") from error
    if server.server_process is not None:
        note = {"parent": os.getpid(), "server": server.server_process.pid}
        (notes / f"{os.getpid()}.json").write_text(json.dumps(note))


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
