"""int8 against float32 ONNX, and that against the tf_keras twin's: one thread, one measurement a batch size."""

from pathlib import Path

from tasks.data.dataset import open_dataset
from tasks.evaluation.assess import CONTROL, gather
from tasks.evaluation.latency import Estimate, Samples, speedup
from tasks.models import sizes
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.samples import Contender, Effort, MeasureRequest, read_samples
from tasks.runtimes.timing import measure
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.table import Row

ROUNDS = 10
WANTED = {1: 1.15, 32: 1.7}


def rows(bench: Bench) -> list[Row]:
    """Speed, size, accuracy."""
    twin = bench.folder / "twin"
    twin.mkdir()
    run(["tests.benchmarks.twin", str(bench.made / "reference"), str(twin)], {"TF_USE_LEGACY_KERAS": "1"})
    answers = []
    for batch, wanted in WANTED.items():
        samples = timed(bench, twin, batch)
        gain = speedup(samples, "p50_ms", "int8", "float32")
        control = speedup(samples, "p50_ms", CONTROL, "float32").point
        note = f"90 % interval {_interval(gain)}, A/A control {control:.3f}"
        answers.append(Row(f"int8 over float32, p50 speed-up at batch {batch}", gain.point, at_least=wanted, note=note))
        same = speedup(samples, "p50_ms", "twin", "float32")
        name = f"our float32 over its tf_keras twin's, p50 time at batch {batch}"
        answers.append(Row(name, 1 / same.point, at_most=1.05))
    return answers + _sizes(bench) + _accuracy(bench)


def timed(bench: Bench, twin: Path, batch: int) -> Samples:
    """float32, its control, int8 and the twin in one measurement."""
    onnx = bench.made / "onnx"
    folders = {"float32": onnx / "float32", CONTROL: onnx / "float32", "int8": onnx / "int8", "twin": twin}
    out = bench.folder / f"latency-{batch}"
    out.mkdir()
    result = measure(
        MeasureRequest(
            contenders=tuple(Contender(name=name, folder=str(folder)) for name, folder in folders.items()),
            target=OnnxRuntime(runtime="onnxruntime", threads=1, batch_size=batch),
            split=open_dataset(bench.made / "data")["test"],
            out=str(out),
            effort=Effort(rounds=ROUNDS),
        )
    )
    return gather(result, read_samples(out), None)


def _interval(estimate: Estimate) -> str:
    return "unknown" if estimate.interval is None else "{:.3f} to {:.3f}".format(*estimate.interval)


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
