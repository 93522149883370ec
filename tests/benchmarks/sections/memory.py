"""Memory does not grow with the data: releases of 25,000 and of 100,000 pictures to test and as many to calibrate.

At its largest it takes 17 GB of disk, and gives it back.
"""

import shutil

from tests.benchmarks.anonymous import Watch
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.table import Row

FEW, MANY = 25_000, 100_000
KINDS = ("npy", "parquet")


def rows(bench: Bench) -> list[Row]:
    """The largest process of each release, by its own memory (see `anonymous`)."""
    answers = []
    for kind in KINDS:
        (few, _, _), (many, told, wall) = (released(bench, kind, count) for count in (FEW, MANY))
        name = f"{kind}, {MANY:,} pictures of 96 x 96 x 3"
        answers += [
            Row(f"{name}: largest process (MB)", many / 1e6, at_most=2000, note=f"{told}; {wall:.0f} s"),
            Row(f"{name}: more than with {FEW:,} (MB)", (many - few) / 1e6, at_most=100, note=f"{few / 1e6:.0f} there"),
        ]
    return answers


def released(bench: Bench, kind: str, count: int) -> tuple[int, str, float]:
    """Peak of the largest process in bytes, peaks by kind of process, seconds; leaves nothing behind."""
    folder, home = bench.folder / f"{kind}-{count}", bench.folder / f"home-{kind}-{count}"
    folder.mkdir()
    try:
        run(["tests.benchmarks.pictures", str(folder), kind, str(count)])
        with Watch() as watch:
            release = bench.release(folder / "pictures.yaml", home)
        return max(watch.peaks.values()), watch.told(), release.wall_s
    finally:
        for place in (folder, home):
            shutil.rmtree(place, ignore_errors=True)
