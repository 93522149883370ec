"""A release from nothing against a bare script that does the same work."""

import json
import statistics

from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row


def rows(bench: Bench) -> list[Row]:
    """Ratio and seconds. Where a measurement queued behind another release, the figure says so and means little."""
    walls, ratios, cpu = [], [], []
    for bare, release in bench.cold:
        waited = sum(s for name, s in json.loads(bare.out)["seconds"].items() if name.startswith("wait"))
        walls.append(release.ran.wall_s)
        ratios.append(release.ran.wall_s / (bare.wall_s - waited))
        cpu.append(release.ran.cpu_s / bare.cpu_s)
    pairs = " ".join(f"{release.ran.wall_s:.1f}/{bare.wall_s:.1f}" for bare, release in bench.cold)
    queued = " A MEASUREMENT QUEUED BEHIND ANOTHER RELEASE" if any(each.waited for _, each in bench.cold) else ""
    return [
        Row(
            "release, cold, over bare script (wall)", statistics.median(ratios), at_most=1.25, note=f"s {pairs}{queued}"
        ),
        Row("release, cold (s)", statistics.median(walls), at_most=120),
        Row("release, cold, over bare script (processor time)", statistics.median(cpu)),
    ]
