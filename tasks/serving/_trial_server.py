"""A server process with one version alone, watched while it is tried, and gone when the trial ends."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from tasks.serving.pointer import Pointer
from tasks.serving.server.memory import available_bytes
from tasks.serving.server.settings import ServeSettings
from tasks.serving.trial import Trial

COMMAND = (sys.executable, "-m", "tasks.serving.server")
CODE = Path(__file__).parents[2]
POLL_S = 0.02
LOG_BYTES = 4000
ENDS_WITHIN_S = 1.0
"""How long a process that has hung up may take to be gone."""


class ServerFailed(Exception):
    """It did not start, or has ended; the message is the end of a sentence. What it wrote may say why."""


class TrialServer:
    """The process, and a thread that watches its memory; both end with the block.

    Attributes:
        url: where it answers, once it is ready.
        killed_because: why the thread has ended it; empty if it has not.
    """

    def __init__(self, root: Path, model: str, pointer: Pointer, trial: Trial) -> None:
        # What an answer may take is measured here; the server itself shall not cut a whole golden batch short.
        patient = {**pointer.settings, "deadline_ms": 1000 * trial.start_s}
        pinned = {model: pointer.model_copy(update={"settings": patient})}
        self._settings = ServeSettings(root=str(root), models=(model,), port=0, pinned=pinned, parent=os.getpid())
        self._trial = trial
        self._limit = int(trial.memory_mb * 1e6) if trial.memory_mb else available_bytes()
        self._opened = ExitStack()
        self._log: IO[bytes] = self._opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None
        self._peak = 0
        self.killed_because = ""
        self.url = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._opened.close()

    def wait_until_ready(self) -> float:
        """Start it; milliseconds until it answers.

        Raises:
            ServerFailed: it ends, says that it cannot, or takes too long.
        """
        begin = time.monotonic()
        out, its_end = os.pipe()
        self._opened.callback(os.close, out)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*COMMAND, self._settings.model_dump_json()],
            cwd=CODE,
            stdin=subprocess.DEVNULL,
            stdout=its_end,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the command, which then ends it
        )
        os.close(its_end)
        threading.Thread(target=self._watch, args=(self._process.pid,), daemon=True, name="memory").start()
        line = self._first_line(out, begin + self._trial.start_s)
        said = json.loads(line) if line.startswith(b"{") else {}
        if "url" not in said:
            raise ServerFailed(f"its server did not start: {said.get('error') or self.ended() or 'it said nothing'}")
        self.url = str(said["url"])
        return 1000 * (time.monotonic() - begin)

    def _first_line(self, out: int, deadline: float) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise ServerFailed(f"its server was not ready within {self._trial.start_s:g} s.")
            more = os.read(out, 65536)
            if not more:
                break
            line += more
        return line

    def _watch(self, pid: int) -> None:
        """Note the largest memory; end the process when it is too large."""
        while (now := _memory(pid)) is not None:
            self._peak = max(self._peak, now)
            if self._limit is not None and now > self._limit:
                self.killed_because = (
                    f"its server passed the {self._limit / 1e6:,.0f} MB of memory that "
                    f"{'are allowed' if self._trial.memory_mb else 'are free here'} and was ended then. That counts "
                    "the whole process, of which an empty server takes about 90 MB."
                )
                if self._process is not None:
                    self._process.kill()
                return
            time.sleep(POLL_S)

    def ended(self) -> str:
        """How it has ended, `it ended with exit code 1`; empty if it runs."""
        if self._process is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(ENDS_WITHIN_S)
            return f"it was killed by {_signal(-code)}" if code < 0 else f"it ended with exit code {code}"
        return ""

    def peak_bytes(self) -> int:
        """The largest resident memory so far."""
        now = _memory(self._process.pid) if self._process else None
        return max(self._peak, now or 0)

    def log_end(self) -> str:
        """The last lines that it wrote."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LOG_BYTES))
        return self._log.read().decode(errors="replace").strip() or "(it is empty)"


def _signal(number: int) -> str:
    """`SIGSEGV`, and who sends it where that is known."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}, as the system does when memory runs out" if number == signal.SIGKILL else name


def _memory(pid: int) -> int | None:
    """Bytes of the largest resident memory of a process; None when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
