"""A release of which nothing has changed, against a trivial Prefect flow on the same installation."""

import statistics

from tests.benchmarks.bench import CONFIG, Bench, median_wall, spread
from tests.benchmarks.process import run
from tests.benchmarks.table import Row

# What always runs: the user's code, whose content is the key of the rest, and what depends on load or on this release.
ALWAYS = ("build", "read", "open registry", "measure", "judge", "pack", "register", "attach report")


def rows(bench: Bench) -> list[Row]:
    """Stages that ran again, and the price over Prefect's own."""
    home = bench.released.home
    trivial, repeated, again = [], [], []
    for _ in range(bench.repeats):
        trivial.append(run(["tests.benchmarks.trivial"], {"SLIPWAY_HOME": str(home)}))
        release = bench.release(CONFIG, home)
        repeated.append(release.wall_s)
        again += [
            f"{stage['name']} {stage['candidate'] or ''}".strip()
            for stage in release.answer["stages"]
            if not stage["reused"] and not stage["name"].startswith(ALWAYS)
        ]
    over = statistics.median(repeated) - median_wall(trivial)
    note = "runs " + " ".join(f"{wall:.2f}" for wall in repeated)
    return [
        Row("stages that ran again though nothing changed", len(again), at_most=0, note=", ".join(again)),
        Row("repeated release - trivial Prefect flow (s)", over, at_most=15, note=note),
        Row("trivial Prefect flow (s)", median_wall(trivial), note=spread(trivial)),
    ]
