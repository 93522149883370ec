"""The orchestrating process: small, and without TensorFlow."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row


def rows(bench: Bench) -> list[Row]:
    """Peak memory and what was imported, over all releases of this run."""
    processes = [release.process for _, release in bench.cold]
    peak = max(process["peak_rss_bytes"] for process in processes) / 1e6
    return [
        Row("orchestrating process, peak resident memory (MB)", peak, at_most=400),
        Row(
            "TensorFlow or Keras in the orchestrating process", sum(each["tensorflow"] for each in processes), at_most=0
        ),
    ]
