"""Measuring how fast models answer, so that a difference between two of them means a difference between the models.

One process in twenty settles 1.4 times slower for its whole life, whatever it runs; an interval from one pair of
processes therefore lies. So: rounds of fresh processes, one a contender, one active at a time, in alternating order.
Statistics over the rounds are `evaluation`'s; here are only samples.
"""

import errno
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from tasks.foundations.errors import InputError, StepFailed
from tasks.runtimes._process import Nursery, Process
from tasks.runtimes.environment import Noise, NoiseMeter, read_environment
from tasks.runtimes.samples import FILE, ContenderResult, Measurement, MeasureRequest, RoundOf
from tasks.runtimes.session import Array, as_runtime

Samples = dict[str, list[Array]]


class Bench:
    """A measurement under way.

    Use as a context manager: leaving it ends whatever process is left. `round()` measures once more; `finish()`
    writes the record.

    Attributes:
        samples: contender -> one array a round, (blocks, calls) float64 milliseconds. Contenders that failed are
            not in it.
        failures: contender -> why it dropped out.
    """

    def __init__(self, request: MeasureRequest, progress: Callable[[str], None] | None = None) -> None:
        """Prepare; nothing is started yet.

        Args:
            request: what to measure.
            progress: told in a few words what happens now.

        Raises:
            InputError: two contenders have one name, or the split has no rows.
        """
        names = [contender.name for contender in request.contenders]
        if len(set(names)) < len(names):
            raise InputError(f"Contenders need different names, got {names}.")
        if request.split.rows == 0:
            raise InputError(f"{request.split.folder} has no rows: nothing to call the models with.")
        self.request = request
        self.samples: Samples = {name: [] for name in names}
        self.failures: dict[str, StepFailed] = {}
        self._runtime = as_runtime(request.target)
        self._progress = progress or (lambda _: None)
        self._nursery: Nursery | None = None
        self._waiting: list[Nursery] = []
        self._processes: dict[str, Process] = {}
        self._records: dict[str, list[RoundOf]] = {name: [] for name in names}
        self._noise: list[Noise] = []
        self._seconds = 0.0
        self._environment = read_environment()
        self._distinct_rows = min(request.split.rows, max(request.rows, 2 * self._runtime.batch_size))
        (Path(request.out) / "samples").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._release()

    @property
    def rounds(self) -> int:
        """Rounds run so far."""
        return len(self._noise)

    def on_progress(self, progress: Callable[[str], None]) -> None:
        """Tell another listener from now on."""
        self._progress = progress

    def pids(self) -> dict[str, int]:
        """Contender -> process id, of the processes of the present round."""
        return {name: process.pid for name, process in self._processes.items()}

    def round(self) -> None:
        """Measure every contender that has not failed in a fresh process each.

        A contender that fails loses all its samples and is in `failures` from then on; the others go on.
        """
        begin, meter = time.monotonic(), NoiseMeter()
        try:
            self._start()
            opened = self._open()
            self._measure(opened)
            self._collect(opened)
        finally:
            self._end()
        self._noise.append(meter.read())
        self._seconds += time.monotonic() - begin

    def finish(self) -> Measurement:
        """Write `measurement.json` and return it."""
        folders = {contender.name: contender.folder for contender in self.request.contenders}
        result = Measurement(
            target=self.request.target,
            options=self._runtime.options(),
            batch_size=self._runtime.batch_size,
            distinct_rows=self._distinct_rows,
            rounds=self.rounds,
            contenders={
                name: ContenderResult(
                    name=name,
                    folder=folders[name],
                    calls=sum(array.size for array in arrays),
                    rounds=tuple(self._records[name]),
                )
                for name, arrays in self.samples.items()
                if arrays
            },
            failures={name: str(error) for name, error in self.failures.items()},
            environment=self._environment,
            noise=tuple(self._noise),
            seconds=self._seconds,
        )
        (Path(self.request.out) / FILE).write_text(result.model_dump_json(indent=2))
        return result

    def _start(self) -> None:
        """Take the next round's fresh processes; contenders that have failed meanwhile are not needed in it."""
        if not self._waiting:
            self._hatch()
        if self._waiting:
            self._nursery = self._waiting.pop(0)
            for name, process in self._nursery.processes.items():
                if name in self.samples:
                    self._processes[name] = process
                else:
                    process.kill()

    def _hatch(self) -> None:
        """Start the processes of the next rounds side by side, because importing the library dominates.

        All of them have come to rest before the first one is measured: whoever waits is asleep on a pipe.
        """
        names, effort = list(self.samples), self.request.effort
        goal = effort.rounds if self.rounds < effort.rounds else effort.most_rounds
        count = max(1, min(effort.rounds, goal - self.rounds))
        self._progress(f"round {self.rounds + 1}: starting {len(names)} processes")
        message = {
            "target": self.request.target.model_dump(mode="json"),
            "split": self.request.split.model_dump(mode="json"),
            "rows": self._distinct_rows,
            "round_seconds": effort.round_seconds,
        }
        for _ in range(count):
            self._waiting.append(Nursery(names, self._runtime.environment(), effort.reply_seconds))
            self._waiting[-1].send(message, {each.name: each.folder for each in self.request.contenders})
        try:
            for nursery in self._waiting:
                nursery.wait()
        except StepFailed as error:
            for name in names:
                self._fail(name, type(error)(f"{name}: {error}"))
            self._release()

    def _open(self) -> dict[str, dict[str, Any]]:
        """Open and warm up one model after the other: load time and first call are measured alone."""
        opened = {}
        for name in list(self._processes):
            self._progress(f"round {self.rounds + 1}: opening {name}")
            reply = self._ask(name, "open")
            if reply is not None:
                opened[name] = reply
        return opened

    def _measure(self, opened: dict[str, dict[str, Any]]) -> None:
        call_ms = {name: max(reply["call_ms"], 1e-4) for name, reply in opened.items()}
        blocks = _blocks(self.request, call_ms)
        calls = {name: _calls(self.request, blocks, ms) for name, ms in call_ms.items()}
        self._progress(f"round {self.rounds + 1}: measuring")
        for block in range(blocks):
            for name in _order(list(opened), block, self.rounds):
                if name in self._processes:
                    self._ask(name, "block", calls[name])

    def _collect(self, opened: dict[str, dict[str, Any]]) -> None:
        position = {contender.name: i for i, contender in enumerate(self.request.contenders)}
        for name in list(self._processes):
            file = f"samples/{position[name]}-{self.rounds}.npy"
            path = Path(self.request.out) / file
            reply = self._ask(name, "finish", str(path))
            if reply is not None:
                figures = {key: value for key, value in opened[name].items() if key != "call_ms"}
                self._records[name].append(RoundOf(file=file, **figures, **reply))
                self.samples[name].append(_load(path))

    def _ask(self, name: str, command: str, *arguments: Any) -> dict[str, Any] | None:
        """A contender's reply. None if it fails, which costs only itself."""
        try:
            return self._processes[name].ask(command, *arguments)
        except StepFailed as error:
            self._progress(f"round {self.rounds + 1}: {name} failed")
            self._fail(name, error)
            return None

    def _fail(self, name: str, error: StepFailed) -> None:
        self.failures[name] = error
        self.samples.pop(name, None)
        if process := self._processes.pop(name, None):
            process.kill()

    def _end(self) -> None:
        self._processes = {}
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _release(self) -> None:
        while self._waiting:
            self._waiting.pop().close()


def measure(
    request: MeasureRequest,
    more: Callable[[Samples], bool] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Measurement:
    """Measure all contenders on one target.

    Args:
        request: what to measure.
        more: asked after `effort.rounds` rounds, and after each further one, whether the samples so far leave a
            decision open; up to `effort.most_rounds`. Without it there are `effort.rounds`.
        progress: told in a few words what happens now.

    Returns:
        The record, also written to `out` beside the samples.
    """
    with Bench(request, progress) as bench:
        while bench.samples and bench.rounds < request.effort.rounds:
            bench.round()
        while more and bench.samples and bench.rounds < request.effort.most_rounds and more(bench.samples):
            bench.round()
        return bench.finish()


def _load(path: Path) -> Array:
    """What a process has written; numpy does not notice in that process that its last bytes found no room."""
    try:
        samples: Array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error
    return samples


def _blocks(request: MeasureRequest, call_ms: dict[str, float]) -> int:
    """Turns of this round: as asked, fewer (but three) where one call of the slowest contender fills a turn."""
    effort = request.effort
    slowest = max(call_ms.values(), default=1.0)
    return int(np.clip(effort.round_seconds * 1e3 / slowest, 3, effort.blocks))


def _calls(request: MeasureRequest, blocks: int, call_ms: float) -> int:
    """Calls of one turn: this round's share of all calls, at least `block_ms`, at most the round's time."""
    effort = request.effort
    share = math.ceil(effort.calls / (effort.rounds * blocks))
    longest = effort.round_seconds * 1e3 / (blocks * call_ms)
    return max(1, int(min(max(share, effort.block_ms / call_ms), longest)))


def _order(names: list[str], block: int, round_: int) -> list[str]:
    """Forward and backward in turn (ABBA), starting with another contender each time, so that none is always first."""
    start = (block // 2 + round_) % len(names) if names else 0
    turned = names[start:] + names[:start]
    return turned if block % 2 == 0 else turned[::-1]
