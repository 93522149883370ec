"""A model of real size: MobileNetV2 as it was published by speed and bytes, its small sister by a whole release."""

from tasks.evaluation.assess import CONTROL
from tasks.evaluation.latency import speedup
from tasks.models import sizes
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import ROOT, run
from tests.benchmarks.published import rows_of
from tests.benchmarks.table import Row
from tests.benchmarks.timed import interval, timed

CONFIG = ROOT / "configs" / "mobilenet.yaml"
ROUNDS = 10


def rows(bench: Bench) -> list[Row]:
    """One thread, batch 1, int8 against float32 ONNX; then `configs/mobilenet.yaml` from nothing."""
    return [*_published(bench), *_released(bench)]


def _published(bench: Bench) -> list[Row]:
    out = bench.folder / "mobilenet"
    run(["tests.benchmarks.published", str(out)])
    models = {name: out / name for name in ("float32", "int8")}
    samples = timed(models, rows_of(out), bench.folder / "latency-mobilenet", ROUNDS)
    gain, control = (speedup(samples, "p50_ms", name, "float32") for name in ("int8", CONTROL))
    whole, small = (sizes.measure(folder / "model.onnx").raw_bytes for folder in models.values())
    note = f"90 % interval {interval(gain)}, A/A control {control.point:.3f}"
    return [
        Row("MobileNetV2, int8 over float32, p50 speed-up", gain.point, at_least=2.0, note=note),
        Row("MobileNetV2, float32 over int8, bytes", whole / small, at_least=3.6, note=f"{whole:,} / {small:,} bytes"),
    ]


def _released(bench: Bench) -> list[Row]:
    release = bench.release(CONFIG, bench.folder / "home-mobilenet")
    found = {row["name"]: row for row in release.answer["candidates"]}
    whole, int8 = found["float32"], found["int8"]
    note = f"{whole['size_bytes'] / int8['size_bytes']:.2f} x smaller, {int8['speedup_p50']:.2f} x faster"
    return [
        Row("configs/mobilenet.yaml, int8, accuracy lost (points)", 100 * int8["accuracy_drop"], at_most=2, note=note),
        Row("configs/mobilenet.yaml, cold release (s)", release.wall_s, at_most=240, note=release.answer["decision"]),
    ]
