"""The parent's end of a measuring process: commands out, replies in, each within a time limit.

A child may die or hang at any moment; both must become one sentence that names the contender and what it last said.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.foundations.errors import StepFailed, TimedOut, WorkerKilled

_ROOT = Path(__file__).resolve().parents[2]  # so that `-m` finds this package whatever the current folder holds


class Process:
    """One child. Not thread-safe; `kill` may be called from anywhere."""

    def __init__(self, name: str, environment: Mapping[str, str], reply_seconds: float) -> None:
        self.name = name
        self._limit = reply_seconds
        self._buffer = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child; a pipe could fill up
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tasks.runtimes._child"],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def ask(self, command: str, *arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its reply. See `receive` for what it raises."""
        self.send({"do": command, "with": arguments})
        return self.receive(command)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send without waiting.

        Raises:
            WorkerKilled: the child has ended.
        """
        assert self._popen.stdin is not None  # noqa: S101 - given as PIPE
        try:
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._died() from error

    def receive(self, doing: str) -> dict[str, Any]:
        """Wait for the reply.

        Raises:
            StepFailed: the child says why it failed.
            TimedOut: it said nothing for too long; it is killed.
            WorkerKilled: it has ended.
        """
        reply: dict[str, Any] = json.loads(self._line(doing))
        if "error" in reply:
            raise StepFailed(f"{self.name} could not be measured: {reply['error']}.")
        return reply

    def kill(self) -> None:
        """End the child at once and collect it."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _line(self, doing: str) -> bytes:
        assert self._popen.stdout is not None  # noqa: S101 - given as PIPE
        deadline = time.monotonic() + self._limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._popen.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._popen.kill()
                    raise TimedOut(
                        f"{self.name}: the measuring process did not answer {doing!r} within {self._limit:g} s and was "
                        f"stopped. Raise the limit if the model is that slow.{self._said()}"
                    )
                chunk = os.read(self._popen.stdout.fileno(), 65536)
                if not chunk:
                    raise self._died()
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> WorkerKilled:
        code = self._popen.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return WorkerKilled(f"{self.name}: the measuring process {how} before it answered.{self._said()}")

    def _said(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-3:]
        return f" It last said: {' | '.join(lines)}" if lines else ""
