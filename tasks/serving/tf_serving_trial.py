"""Trying a version in the TensorFlow Serving processes that will serve it, before it gets any traffic.

It is loaded beside the champion, in the same process and from the same files, under a name that no client asks for.
The load runs its warm-up records too. These were checked when the version was made, and its digest says that they are
the same: nobody reads them here.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.bundle.golden import check_golden, read_golden
from tasks.bundle.manifest import GOLDEN
from tasks.foundations.errors import GoldenMismatch, Refused
from tasks.serving.answers import Validation
from tasks.serving.tf_serving_config import CANARY, trial_name
from tasks.serving.tf_serving_status import Array, CallFailed, Server

SHOTS = 100
"""Single golden rows that are timed, a server."""


def ask_golden(server: Server, model: str, golden: Path) -> list[float]:
    """Send the golden requests to the version under trial, as one batch and row by row.

    Returns:
        Milliseconds of every request with one row.

    Raises:
        Refused: an answer is an error, or is not the stored one.
    """
    times: list[float] = []

    def ask(feeds: dict[str, Array]) -> dict[str, Array]:
        return server.predict(trial_name(model), CANARY, feeds)

    def row_by_row(feeds: dict[str, Array]) -> dict[str, Array]:
        parts = [_timed(ask, _row(feeds, row), times) for row in range(len(next(iter(feeds.values()))))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    try:
        check_golden(golden / GOLDEN, ask)
        check_golden(golden / GOLDEN, row_by_row)
        _, inputs, _ = read_golden(golden / GOLDEN)
        rows = len(next(iter(inputs.values())))
        while len(times) < SHOTS:
            _timed(ask, _row(inputs, len(times) % rows), times)
    except (CallFailed, GoldenMismatch) as error:
        raise Refused(str(error)) from error
    return times


def validation(kind: str, load_ms: float, times: list[float], untried: str) -> Validation:
    """What a trial has shown."""
    p50, p99 = (float(np.percentile(times, share)) for share in (50, 99))
    return Validation(kind=kind, requests=len(times), load_ms=load_ms, p50_ms=p50, p99_ms=p99, note=untried)


def _row(feeds: dict[str, Array], row: int) -> dict[str, Array]:
    return {name: values[row : row + 1] for name, values in feeds.items()}


def _timed(
    ask: Callable[[dict[str, Array]], dict[str, Array]], feeds: dict[str, Array], times: list[float]
) -> dict[str, Array]:
    begun = time.perf_counter()
    answer = ask(feeds)
    times.append((time.perf_counter() - begun) * 1000)
    return answer
