"""A version tried in a real server before traffic: it must load, answer as it was released, and keep its limits.

The server is a process of its own on the staged copy, so that a model that crashes, hangs or eats the memory costs
nothing but this trial.
"""

import http.client
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tasks.bundle.golden import check_golden, read_golden
from tasks.foundations.errors import GoldenMismatch, Refused
from tasks.serving._oip_client import Client
from tasks.serving._trial_server import ServerFailed, TrialServer
from tasks.serving.answers import Validation
from tasks.serving.nodes import KIND
from tasks.serving.oip_wire import Array
from tasks.serving.pointer import Pointer
from tasks.serving.staging import folder_of
from tasks.serving.trial import Trial

NEEDED = ("model.onnx", "signature.json", "golden/golden.json")
PART_BYTES = 4 * 2**20
"""Of one golden request at most, so that the limits of a server for single requests do not refuse a batch of them."""


def validate(root: Path, model: str, pointer: Pointer, trial: Trial) -> Validation:
    """Try a staged version.

    Args:
        root: the serving folder.
        model: name of the model.
        pointer: version, digest and settings to serve.
        trial: what it must show.

    Raises:
        Refused: it does not. The first line of the message says why, with the figures; where the server itself
            failed, the end of its log follows.
    """
    folder = folder_of(root, KIND, model) / str(pointer.version)
    what = f"Version {pointer.version} of {model} gets no traffic"
    for name in NEEDED:
        if not (folder / name).is_file():
            raise Refused(f"{what}: its copy has no {name}, so no server can prove it. Release the model again.")
    with TrialServer(root, model, pointer, trial) as server:
        try:
            return _try(server, folder, model, pointer, trial)
        except (Refused, GoldenMismatch) as error:
            raise Refused(_line(f"{what}: {error}")) from error
        except (ServerFailed, OSError, http.client.HTTPException, ValueError) as error:
            if server.killed_because:
                raise Refused(f"{what}: {server.killed_because}") from error
            log = f"The end of its server's log:\n{server.log_end()}"
            raise Refused(f"{_line(f'{what}: {_failure(server, error)}')}\n{log}") from error


def _try(server: TrialServer, folder: Path, model: str, pointer: Pointer, trial: Trial) -> Validation:
    load_ms = server.wait_until_ready()
    client = Client(urlsplit(server.url).netloc, model, trial.start_s)
    try:
        check_golden(folder / "golden", lambda feeds: _in_parts(client, feeds))
        golden, inputs, expected = read_golden(folder / "golden")
        times = _measure(client, inputs, trial.requests, _checker(expected, golden.tolerances))
    finally:
        client.close()
    p50, p99 = _percentile(times, 50), _percentile(times, 99)
    limit = trial.p99_ms or float(pointer.settings.get("deadline_ms", 1000.0))
    if p99 > limit:
        raise Refused(
            f"p99 of {len(times)} requests is {p99:.3g} ms (p50 {p50:.3g} ms); at most {limit:g} ms is asked."
        )
    return Validation(
        kind=KIND,
        requests=golden.rows + len(times),
        load_ms=load_ms,
        p50_ms=p50,
        p99_ms=p99,
        memory_bytes=server.peak_bytes(),
    )


def _in_parts(client: Client, feeds: dict[str, Array]) -> dict[str, Array]:
    rows = len(next(iter(feeds.values())))
    size = max(1, PART_BYTES * rows // max(1, sum(values.nbytes for values in feeds.values())))
    parts = [
        client.infer({name: values[begin : begin + size] for name, values in feeds.items()})
        for begin in range(0, rows, size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(
    client: Client, inputs: dict[str, Array], requests: int, check: Callable[[int, dict[str, Array]], None]
) -> list[float]:
    """Milliseconds of requests of one row; every answer is checked."""
    rows = len(next(iter(inputs.values())))
    singles = [{name: values[row : row + 1] for name, values in inputs.items()} for row in range(rows)]
    times = []
    for index in range(requests):
        begin = time.perf_counter()
        answer = client.infer(singles[index % rows])
        times.append(1000 * (time.perf_counter() - begin))
        check(index % rows, answer)
    return times


def _checker(expected: dict[str, Array], tolerances: dict[str, float]) -> Callable[[int, dict[str, Array]], None]:
    def check(row: int, answer: dict[str, Array]) -> None:
        for name, values in expected.items():
            wanted, got = values[row : row + 1], answer[name]
            if wanted.dtype.kind in "USOb":
                same = np.array_equal(wanted, got)
            else:  # NaN is a difference too
                same = bool((np.abs(wanted.astype(np.float64) - got.astype(np.float64)) <= tolerances[name]).all())
            if not same:
                raise GoldenMismatch(f"Under load, output {name!r} of golden row {row} is another one than before.")

    return check


def _percentile(times: list[float], percent: float) -> float:
    return float(np.percentile(times, percent))


def _failure(server: TrialServer, error: Exception) -> str:
    if isinstance(error, ServerFailed):
        return str(error)
    if isinstance(error, TimeoutError):
        return "its server did not answer in time"
    how = "" if isinstance(error, ValueError) else server.ended()  # it has answered, and runs
    return f"its server failed: {how or f'{type(error).__name__}: {error}'}"


def _line(text: str) -> str:
    """One sentence in one line, as the journal and `status` have it."""
    return f"{' '.join(text.split()).rstrip('.')}."
