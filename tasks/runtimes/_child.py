"""One measuring process: opens one model, then times calls whenever it is told to, and sleeps on a pipe otherwise.

Run as `python -m tasks.runtimes._child`. One JSON line in, one JSON line out; whatever libraries print goes to
stderr. It ends when its pipe closes, and a watchdog ends it when its parent is gone while it is busy.
"""

import gc

gc.disable()  # importing a large library allocates a million objects that all live: collecting them costs 15 %

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import IO, Any  # noqa: E402

import numpy as np  # noqa: E402

from tasks.data.dataset import Split  # noqa: E402
from tasks.foundations.errors import StepFailed  # noqa: E402
from tasks.runtimes.rows import match_inputs, take_batch  # noqa: E402
from tasks.runtimes.session import Array, Runtime, Session, as_runtime  # noqa: E402
from tasks.runtimes.target import parse_target  # noqa: E402

WINDOWS = 10
_WINDOW_MS = 5.0
_AGREEMENT = 1.1


class Bench:
    """The model of this process and the samples of its round."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._runtime: Runtime = as_runtime(parse_target(config["target"]))
        self._session: Session
        self._feeds: list[dict[str, Array]] = []
        self._blocks: list[Array] = []
        self._position = 0

    def prepare(self) -> dict[str, Any]:
        """Import the library without what it does not need here."""
        blocked = [name for name in self._runtime.needless if name not in sys.modules]
        sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]  # None makes an import fail: PEP 328
        try:
            self._runtime.prepare()
        finally:
            for name in blocked:
                sys.modules.pop(name, None)
        return {}

    def open(self) -> dict[str, Any]:
        """Open the model, make the first call, warm up."""
        split = Split.model_validate(self._config["split"])
        folder = Path(self._config["folder"])
        index = np.asarray(self._config["index"])
        rows = {name: array[index] for name, array in split.input_arrays().items()}
        base = _memory("VmRSS")
        begin = time.perf_counter_ns()
        self._session = self._runtime.open(folder)
        load_ms = _since(begin)
        self._feeds = self._batches(match_inputs(self._session.signature, rows), len(index))
        begin = time.perf_counter_ns()
        self._session.run(self._feeds[0])
        first_call_ms = _since(begin)
        call_ms, settled = self._warm_up(first_call_ms)
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
        return {"peak_memory_bytes": _memory("VmHWM")}

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


def main() -> None:
    """Answer commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when to end us
    commands, replies = _take_over_pipes()
    bench: Bench | None = None
    for line in commands:
        message = json.loads(line)
        try:
            if bench is None:
                _watch(message["parent"])
                bench = Bench(message)
                answer = bench.prepare()
            else:
                answer = getattr(bench, message["do"])(*message["with"])
        except Exception as error:  # noqa: BLE001 - the parent turns every reason into its contender's failure
            answer = {"error": f"{type(error).__name__}: {error}" if not isinstance(error, StepFailed) else str(error)}
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing to save; tearing TensorFlow down takes a while


def _take_over_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the pipes for the protocol and give libraries /dev/null to read and stderr to print to."""
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


def _watch(parent: int) -> None:
    """End this process when its parent has ended, even in the middle of a call."""

    def poll() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=poll, daemon=True).start()


def _memory(field: str) -> int:
    """`VmHWM` or `VmRSS` in bytes.

    Not `ru_maxrss`: after fork and exec that counter starts from the parent's memory (getrusage(2)).
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        resource = importlib.import_module("resource")
        usage: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def _since(begin_ns: int) -> float:
    return (time.perf_counter_ns() - begin_ns) / 1e6


def _same(expected: Array, found: Array) -> bool:
    """Equal up to the rounding of threads that add in another order."""
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(expected, found))
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
    return bool(np.allclose(expected, found, rtol=1e-4, atol=1e-5 * scale, equal_nan=True))


if __name__ == "__main__":
    main()
