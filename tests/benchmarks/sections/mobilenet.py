"""MobileNetV2, a model of real size: its release, and int8 against float32 ONNX, one thread."""

from pathlib import Path

from tasks.evaluation.assess import CONTROL
from tasks.evaluation.latency import speedup
from tasks.models.signature import Signature
from tasks.store.store import Store
from tests.benchmarks.bench import Bench, Release
from tests.benchmarks.calibrate import make_split
from tests.benchmarks.process import ROOT
from tests.benchmarks.table import Row
from tests.benchmarks.timed import interval, timed

CONFIG = ROOT / "configs" / "mobilenet.yaml"
ROUNDS, PICTURES = 10, 128  # of noise: the time of a convolution does not depend on what it sees


def rows(bench: Bench) -> list[Row]:
    """Speed, size, accuracy, and what the whole release took."""
    release = bench.release(CONFIG, bench.folder / "home-mobilenet")
    found = {row["name"]: row for row in release.answer["candidates"]}
    models = {name: _folder(release, name) for name in ("float32", "int8")}
    split = make_split(bench.folder / "pictures", Signature.read(models["float32"]), PICTURES)
    samples = timed(models, split, bench.folder / "latency-mobilenet", ROUNDS)
    gain, control = (speedup(samples, "p50_ms", name, "float32") for name in ("int8", CONTROL))
    note = f"90 % interval {interval(gain)}, A/A control {control.point:.3f}"
    whole, small = (found[name]["size_bytes"] for name in models)
    return [
        Row("MobileNetV2 int8 over float32, p50 speed-up", gain.point, at_least=2.0, note=note),
        Row("MobileNetV2 float32 over int8, bytes", whole / small, at_least=3.6, note=f"{whole:,} / {small:,} bytes"),
        Row("MobileNetV2 int8, accuracy lost (points)", 100 * found["int8"]["accuracy_drop"], at_most=2),
        Row("MobileNetV2, cold release (s)", release.wall_s, at_most=240, note=release.answer["decision"]),
    ]


def _folder(release: Release, name: str) -> Path:
    digest = next(row["digest"] for row in release.answer["candidates"] if row["name"] == name)
    place = release.home / "store"
    return Store(str(place), place).path(digest)
