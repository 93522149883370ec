"""int8 against float32 ONNX, and that against the tf_keras twin's: one thread, one measurement a batch size."""

from tasks.data.dataset import open_dataset
from tasks.evaluation.assess import CONTROL
from tasks.evaluation.latency import speedup
from tasks.models import sizes
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.table import Row
from tests.benchmarks.timed import interval, timed

ROUNDS = 10
WANTED = {1: 1.15, 32: 1.7}


def rows(bench: Bench) -> list[Row]:
    """Speed, size, accuracy."""
    twin = bench.folder / "twin"
    twin.mkdir()
    run(["tests.benchmarks.twin", str(bench.made / "reference"), str(twin)], {"TF_USE_LEGACY_KERAS": "1"})
    onnx, split = bench.made / "onnx", open_dataset(bench.made / "data")["test"]
    models = {"float32": onnx / "float32", "int8": onnx / "int8", "twin": twin}
    answers = []
    for batch, wanted in WANTED.items():
        samples = timed(models, split, bench.folder / f"latency-{batch}", ROUNDS, batch)
        gain = speedup(samples, "p50_ms", "int8", "float32")
        control = speedup(samples, "p50_ms", CONTROL, "float32").point
        note = f"90 % interval {interval(gain)}, A/A control {control:.3f}"
        answers.append(Row(f"int8 over float32, p50 speed-up at batch {batch}", gain.point, at_least=wanted, note=note))
        same = speedup(samples, "p50_ms", "twin", "float32")
        name = f"our float32 over its tf_keras twin's, p50 time at batch {batch}"
        answers.append(Row(name, 1 / same.point, at_most=1.05))
    return answers + _sizes(bench) + _accuracy(bench)


def _sizes(bench: Bench) -> list[Row]:
    big, small = (sizes.measure(bench.made / "onnx" / name / "model.onnx") for name in ("float32", "int8"))
    note = f"{big.raw_bytes:,} / {small.raw_bytes:,} bytes"
    return [Row("float32 over int8, bytes", big.raw_bytes / small.raw_bytes, at_least=3.4, note=note)]


def _accuracy(bench: Bench) -> list[Row]:
    answer = bench.released.answer
    winner = answer["winners"]["cpu"]
    drops = {row["name"]: row["accuracy_drop"] for row in answer["candidates"] if row["target"] == "cpu"}
    return [
        Row("int8, accuracy lost (points)", 100 * drops["int8"], at_most=1),
        Row("promoted on cpu, accuracy lost (points)", 100 * drops[winner], at_most=1, note=winner),
    ]
