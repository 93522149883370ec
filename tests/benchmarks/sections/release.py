"""A release from nothing against a bare script that does the same work."""

import json
import statistics

from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row


def rows(bench: Bench) -> list[Row]:
    """Ratio and seconds, without what either side's measuring queued behind other releases of the machine."""
    walls, ratios, cpu, notes = [], [], [], []
    for bare, release in bench.cold:
        steps = json.loads(bare.out)["seconds"]
        script = bare.wall_s - sum(seconds for name, seconds in steps.items() if name.startswith("wait"))
        walls.append(release.wall_s)
        ratios.append(release.wall_s / script)
        cpu.append(release.ran.cpu_s / bare.cpu_s)
        notes.append(f"{release.wall_s:.1f}/{script:.1f}")
    return [
        Row(
            "release, cold, over bare script (wall)",
            statistics.median(ratios),
            at_most=1.25,
            note="s " + " ".join(notes),
        ),
        Row("release, cold (s)", statistics.median(walls), at_most=180),
        Row("release, cold, over bare script (processor time)", statistics.median(cpu)),
    ]
