"""Inside a measuring process: one model, its warm-up, and the turns in which calls are timed.

Nothing here runs beside a timed call: no collection of garbage, no writing, no check.
"""

import gc
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.dataset import Split
from tasks.foundations.errors import StepFailed
from tasks.models.rows import match
from tasks.runtimes.rows import take_batch
from tasks.runtimes.session import Array, Runtime, Session

WINDOWS = 10
_WINDOW_MS = 5.0
_AGREEMENT = 1.1


class Timed:
    """The model of this process and the samples of its round."""

    def __init__(self, runtime: Runtime, config: dict[str, Any]) -> None:
        self._runtime = runtime
        self._config = config
        self._session: Session
        self._feeds: list[dict[str, Array]] = []
        self._blocks: list[Array] = []
        self._position = 0

    def open(self) -> dict[str, Any]:
        """Open the model, make the first call, warm up."""
        split = Split.model_validate(self._config["split"])
        folder = Path(self._config["folder"])
        index = np.linspace(0, split.rows - 1, self._config["rows"]).astype(np.int64)  # spread evenly, all distinct
        rows = {name: array[index] for name, array in split.input_arrays().items()}
        base = self._memory("VmRSS")
        begin = time.perf_counter_ns()
        self._session = self._runtime.open(folder)
        load_ms = _since(begin)
        self._feeds = self._batches(match(rows, self._session.signature), len(index))
        begin = time.perf_counter_ns()
        self._session.run(self._feeds[0])
        first_call_ms = _since(begin)
        call_ms, settled = self._warm_up(first_call_ms)
        self._rest()
        gc.freeze()
        return {
            "load_ms": load_ms,
            "first_call_ms": first_call_ms,
            "call_ms": call_ms,
            "settled": settled,
            "base_memory_bytes": base,
        }

    def block(self, calls: int) -> dict[str, Any]:
        """Time `calls` calls, each on the next batch.

        A call before them fills the caches that another process has emptied, on the batch that the last timed call
        will get: both must give the same outputs, or the timed calls did not do the model's work.
        """
        last = self._feeds[(self._position + calls - 1) % len(self._feeds)]
        expected = {name: np.copy(output) for name, output in self._session.run(last).items()}
        samples, outputs = self._time(calls)
        self._blocks.append(samples)
        self._rest()
        for name, output in outputs.items():
            if not _same(expected[name], output):
                raise StepFailed(
                    f"output {name!r} of a timed call differs from an untimed call on the same rows: the model is "
                    "random or keeps state, so its latency means nothing. Make it deterministic"
                )
        return {}

    def finish(self, path: str) -> dict[str, Any]:
        """Save (blocks, calls) float64 milliseconds."""
        np.save(path, np.stack(self._blocks).astype(np.float64) / 1e6, allow_pickle=False)
        return {"peak_memory_bytes": self._memory("VmHWM")}

    def _rest(self) -> None:
        """Pools of threads spin for a next call, ONNX Runtime's for 30 ms; the next contender needs the core."""
        if self._runtime.threads > 1:
            wait_until_idle()

    def _memory(self, field: str) -> int:
        """`VmRSS` or `VmHWM` of this process as if it had started alone.

        A fork takes over private memory but no page of mapped files, above all the library's code: those that it has
        not touched again are added from the nursery's count.
        """
        library: int = self._config["library_bytes"]
        return read_memory(field) + (max(0, library - read_memory("RssFile")) if library else 0)

    def _batches(self, picked: dict[str, Array], rows: int) -> list[dict[str, Array]]:
        """Full batches over all picked rows; the last one borrows from the first rows."""
        size = self._runtime.batch_size
        fixed = self._session.fixed_batch
        if fixed is not None and fixed != size:
            raise StepFailed(f"the model takes batches of {fixed} only, the target asks for {size}")
        return [
            take_batch(self._session, picked, np.arange(start, start + size) % rows) for start in range(0, rows, size)
        ]

    def _warm_up(self, first_call_ms: float) -> tuple[float, bool]:
        """Windows of calls until three agree within 10 % (the rule of Triton's perf_analyzer)."""
        deadline = time.perf_counter() + self._config["round_seconds"]
        medians: list[float] = []
        estimate = first_call_ms
        while len(medians) < WINDOWS:
            samples, _ = self._time(int(np.clip(_WINDOW_MS / estimate, 1, 1000)))
            estimate = float(np.median(samples)) / 1e6
            medians.append(estimate)
            if len(medians) >= 3 and max(medians[-3:]) <= _AGREEMENT * min(medians[-3:]):
                return estimate, True
            if time.perf_counter() > deadline:
                break
        return estimate, False

    def _time(self, calls: int) -> tuple[Array, dict[str, Array]]:
        run, feeds, count, clock = self._session.run, self._feeds, len(self._feeds), time.perf_counter_ns
        samples = np.empty(calls, dtype=np.int64)
        position = self._position
        outputs: dict[str, Array] = {}
        gc.disable()
        for i in range(calls):
            feed = feeds[(position + i) % count]
            begin = clock()
            outputs = run(feed)
            samples[i] = clock() - begin
        gc.enable()
        self._position = position + calls
        return samples, outputs


def read_memory(field: str) -> int:
    """A field of /proc/self/status in bytes; elsewhere than on Linux the peak, whatever was asked.

    Not `ru_maxrss` on Linux: after fork and exec that counter starts from the parent's memory (getrusage(2)).
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        resource = importlib.import_module("resource")
        usage: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def wait_until_idle(most_seconds: float = 1.0) -> None:
    """Sleep until this process uses less than a tenth of a core."""
    deadline = time.monotonic() + most_seconds
    used, pause = 1.0, 0.005
    while used > pause / 10 and time.monotonic() < deadline:
        begin = time.process_time()
        time.sleep(pause)
        used = time.process_time() - begin


def _since(begin_ns: int) -> float:
    return (time.perf_counter_ns() - begin_ns) / 1e6


def _same(expected: Array, found: Array) -> bool:
    """Equal up to the rounding of threads that add in another order."""
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(expected, found))
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
    return bool(np.allclose(expected, found, rtol=1e-4, atol=1e-5 * scale, equal_nan=True))
