"""Calibration keeps its memory flat however many rows it reads."""

from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.table import Row

FEW, MANY = 2_000, 20_000


def rows(bench: Bench) -> list[Row]:
    """Growth of the peak from few to ten times as many rows; keeping all activations would cost about 900 MB."""
    answers = []
    for method in ("minmax", "entropy", "percentile"):
        few, many = (_peak(bench, method, count) for count in (FEW, MANY))
        note = f"peaks {few / 1e6:.0f} and {many / 1e6:.0f} MB at {FEW:,} and {MANY:,} rows"
        answers.append(
            Row(f"calibration {method}, growth of peak memory (MB)", (many - few) / 1e6, at_most=20, note=note)
        )
    return answers


def _peak(bench: Bench, method: str, count: int) -> int:
    source = str(bench.made / "onnx" / "float32")
    return int(run(["tests.benchmarks.calibrate", source, method, str(count)]).out.split()[-1])
