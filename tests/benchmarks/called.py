"""`python -m tests.benchmarks.called MODEL SECONDS`: p50 in ms of the bare runtime call on a model's rows, one by one.

MODEL is a folder as `served` writes it; the session is opened with the options that the server takes.
"""

import sys
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.process import run
from tests.benchmarks.served import TARGET, rows_of


def main(model: str, seconds: str) -> None:
    """Call for a tenth of the time to warm up, then measure."""
    session = TARGET.open(Path(model) / "onnx")
    name, rows = rows_of(Path(model))
    feeds = [{name: rows[number : number + 1]} for number in range(len(rows))]
    for share in (0.1, 1.0):
        times, end = [], time.perf_counter() + share * float(seconds)
        while time.perf_counter() < end:
            for each in feeds:
                begin = time.perf_counter()
                session.run(each)
                times.append(time.perf_counter() - begin)
    print(1000 * float(np.median(times)))


def p50_ms(model: Path, seconds: float) -> float:
    """In a process of its own."""
    return float(run(["tests.benchmarks.called", str(model), str(seconds)]).out)


if __name__ == "__main__":
    main(*sys.argv[1:])
