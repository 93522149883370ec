"""Candidates that wait instead of computing, on 1, 2 and 4 workers of a Dask cluster: the engine and not the cores."""

import json
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.fanned import ALL_S, CANDIDATES
from tests.benchmarks.process import run
from tests.benchmarks.table import Row
from tests.flows.dask_world import dask_world

SIZES = (1, 2, 4)


def rows(bench: Bench) -> list[Row]:
    """Wall time by number of workers, and what it is of the ideal."""
    wall_s = {size: _wall_s(bench.folder / f"fan-out-{size}", size) for size in SIZES}
    note = f"{CANDIDATES} candidates x 2 targets, {ALL_S:.0f} s of waiting"
    found = [Row(f"fan-out, {size} workers: wall (s)", wall_s[size], note=note) for size in SIZES]
    for size in SIZES[1:]:
        found.append(
            Row(
                f"fan-out, {size} workers: efficiency against 1",
                wall_s[1] / (size * wall_s[size]),
                at_least=0.85 if size == SIZES[-1] else None,
            )
        )
    return [*found, Row("fan-out, 4 workers: efficiency against waiting alone", ALL_S / (4 * wall_s[4]))]


def _wall_s(folder: Path, workers: int) -> float:
    folder.mkdir()
    with dask_world(folder) as world:
        for _ in range(workers):
            world.worker()
        environment = {"SLIPWAY_HOME": str(folder / "home"), "SLIPWAY_STORE_URL": world.store}
        seconds: float = json.loads(run(["tests.benchmarks.fanned", world.address], environment).out)
    return seconds
