"""What training techniques buy on the digits: smaller on the way, or smaller and faster; and qat costs no speed."""

from typing import Any

from tasks.data.dataset import open_dataset
from tasks.evaluation.assess import CONTROL
from tasks.evaluation.latency import RESOLUTION, speedup
from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row
from tests.benchmarks.timed import interval, timed

ROUNDS = 10
SMALLER = {"pruned_int8": 8.0, "student_int8": 30.0}  # float32's gzip bytes over theirs, at least
LOST = 1.0  # points of accuracy, at most


def rows(bench: Bench) -> list[Row]:
    """Sizes and accuracy from the release, speed from one measurement of the bare script's files."""
    found = {row["name"]: row for row in bench.released.answer["candidates"] if row["target"] == "cpu"}
    return [row for name, wanted in SMALLER.items() for row in _small(found, name, wanted)] + _qat(bench)


def _small(found: dict[str, Any], name: str, wanted: float) -> list[Row]:
    whole, small = found["float32"]["gzip_bytes"], found[name]["gzip_bytes"]
    note = f"{whole:,} / {small:,} bytes; {found[name]['outcome']}"
    return [
        Row(f"float32 over {name}, gzip bytes", whole / small, at_least=wanted, note=note),
        Row(f"{name}, accuracy lost (points)", 100 * found[name]["accuracy_drop"], at_most=LOST),
    ]


def _qat(bench: Bench) -> list[Row]:
    names = ("float32", "int8", "qat_int8", "student_int8")
    models = {name: bench.made / "onnx" / name for name in names}
    samples = timed(models, open_dataset(bench.made / "data")["test"], bench.folder / "latency-techniques", ROUNDS)
    control = speedup(samples, "p50_ms", CONTROL, "float32").point
    same, fast = (speedup(samples, "p50_ms", *pair) for pair in (("qat_int8", "int8"), ("student_int8", "float32")))
    note = f"90 % interval {interval(same)}, A/A control {control:.3f}, resolution {RESOLUTION - 1:.0%}"
    return [
        Row("qat_int8 over int8, p50 speed-up", same.point, at_least=1 / RESOLUTION, note=note),
        Row("student_int8 over float32, p50 speed-up", fast.point, note=f"90 % interval {interval(fast)}"),
    ]
