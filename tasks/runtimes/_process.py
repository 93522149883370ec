"""The parent's end of the measuring processes: commands out, replies in, each within a time limit.

A process may die or hang at any moment; both must become one sentence that names the contender and what it last said.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tasks.foundations.errors import StepFailed, TimedOut, WorkerKilled

_ROOT = Path(__file__).resolve().parents[2]  # so that `-m` finds this package whatever the current folder holds
_GRACE_S = 5.0


class Nursery:
    """The processes of one round. Not thread-safe.

    Attributes:
        processes: name -> process, once `wait` has returned.
    """

    def __init__(self, names: Sequence[str], environment: Mapping[str, str], reply_seconds: float) -> None:
        """Start the nursery; it waits for `send`.

        Args:
            names: contenders.
            environment: variables set before anything is imported.
            reply_seconds: silence after which a process counts as hung.
        """
        self.processes = {name: Process(name, reply_seconds, self) for name in names}
        self._limit = reply_seconds
        self._codes: dict[int, int] = {}
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the nursery; a pipe could fill up
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tasks.runtimes._child"],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=[end for process in self.processes.values() for end in process.ends.values()],
        )
        assert self._popen.stdout is not None  # noqa: S101 - given as PIPE
        self._lines = _Lines(self._popen.stdout.fileno())

    def send(self, message: Mapping[str, Any], folders: Mapping[str, str]) -> None:
        """Say what to measure; the nursery begins to import, which `wait` waits for."""
        children = [{"folder": folders[name], **process.ends} for name, process in self.processes.items()]
        assert self._popen.stdin is not None  # noqa: S101 - given as PIPE
        with contextlib.suppress(BrokenPipeError):  # it has died; `wait` says how
            self._popen.stdin.write(
                json.dumps({**message, "parent": os.getpid(), "children": children}).encode() + b"\n"
            )
            self._popen.stdin.flush()

    def wait(self) -> None:
        """Wait until every contender has its process.

        Raises:
            StepFailed: the library cannot be imported with the target's options.
            TimedOut: it took too long.
            WorkerKilled: the nursery died.
        """
        try:
            reply = self._lines.read(self._limit)
        except EOFError:
            code = self._popen.wait()
            raise WorkerKilled(
                f"the measuring process {_ending(code)} at its start.{last_words(self._stderr)}"
            ) from None
        except TimeoutError:
            raise TimedOut(f"the runtime did not start within {self._limit:g} s.{last_words(self._stderr)}") from None
        if "error" in reply:
            raise StepFailed(f"the runtime does not start: {reply['error']}.")
        for process, pid in zip(self.processes.values(), reply["pids"], strict=True):
            process.started(pid)

    def code(self, pid: int) -> int | None:
        """Exit code of a process that has closed its pipe, None if the nursery does not tell in time."""
        with contextlib.suppress(EOFError, TimeoutError):
            while pid not in self._codes:
                ended = self._lines.read(_GRACE_S)
                self._codes[ended["pid"]] = ended["code"]
        return self._codes.get(pid)

    def close(self) -> None:
        """End all processes at once, and collect them."""
        for process in self.processes.values():
            process.kill()
        try:
            self._popen.wait(_GRACE_S if any(process.pid for process in self.processes.values()) else 0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both were given as PIPE


class Process:
    """One contender's process in a round.

    Attributes:
        pid: process id, 0 before it runs.
        ends: the descriptors that belong to the other side, until it has them.
    """

    def __init__(self, name: str, reply_seconds: float, nursery: Nursery) -> None:
        self.name = name
        self.pid = 0
        self._limit = reply_seconds
        self._nursery = nursery
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - as in Nursery
        theirs_in, self._commands = os.pipe()
        self._replies, theirs_out = os.pipe()
        self.ends = {"in": theirs_in, "out": theirs_out, "err": os.dup(self._stderr.fileno())}
        self._lines = _Lines(self._replies)
        self._open = True

    def started(self, pid: int) -> None:
        """The process runs and has its ends of the pipes."""
        self.pid = pid
        self._close_ends()

    def ask(self, command: str, *arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its reply.

        Raises:
            StepFailed: the process says why it failed.
            TimedOut: it said nothing for too long; it is killed.
            WorkerKilled: it has ended.
        """
        try:
            os.write(self._commands, json.dumps({"do": command, "with": arguments}).encode() + b"\n")
            reply = self._lines.read(self._limit)
        except (BrokenPipeError, EOFError):
            how = _ending(self._nursery.code(self.pid))
            raise WorkerKilled(f"{self.name}: the measuring process {how}.{last_words(self._stderr)}") from None
        except TimeoutError:
            raise TimedOut(
                f"{self.name}: the measuring process did not answer {command!r} within {self._limit:g} s and was "
                f"stopped. Raise the limit if the model is that slow.{last_words(self._stderr)}"
            ) from None
        if "error" in reply:
            raise StepFailed(f"{self.name} could not be measured: {reply['error']}.")
        return reply

    def kill(self) -> None:
        """End the process at once. May be called again."""
        if not self._open:
            return
        self._open = False
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._close_ends()
        os.close(self._commands)
        os.close(self._replies)
        self._stderr.close()

    def _close_ends(self) -> None:
        while self.ends:
            os.close(self.ends.popitem()[1])


class _Lines:
    """JSON lines of a pipe, with a time limit for each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""

    def read(self, seconds: float) -> dict[str, Any]:
        """The next one.

        Raises:
            EOFError: the other side has closed the pipe.
            TimeoutError: no whole line within the limit.
        """
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                chunk = os.read(self._descriptor, 65536)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        result: dict[str, Any] = json.loads(line)
        return result


def last_words(stderr: IO[bytes]) -> str:
    """The last lines that a process printed, as a sentence to append."""
    stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, stderr.tell() - 2000))
    lines = stderr.read().decode(errors="replace").strip().splitlines()[-3:]
    return f" It last said: {' | '.join(lines)}" if lines else ""


def _ending(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
