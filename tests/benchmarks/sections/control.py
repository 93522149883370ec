"""How often the latency measurement sees a difference where there is none: one file under three names, measured."""

from pathlib import Path

from tasks.data.dataset import open_dataset
from tasks.evaluation.assess import CONTROL, gather
from tasks.evaluation.gates import Gate
from tasks.evaluation.judge import undecided
from tasks.evaluation.latency import Samples, comparison, control_is_off, speedup
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.samples import Contender, MeasureRequest, read_samples
from tasks.runtimes.tensorflow import TensorFlow
from tasks.runtimes.timing import measure
from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row

GATES = [Gate(metric="p50_ms", min_speedup=1.05)]
# Target, model folder of the bare script, runs.
CASES = (
    (OnnxRuntime(runtime="onnxruntime", threads=1, batch_size=1), "onnx/float32", 20),
    (TensorFlow(runtime="tensorflow", threads=1, batch_size=1), "reference", 6),
)


def rows(bench: Bench) -> list[Row]:
    """Shares of runs; each with as many rounds as the gate asks for."""
    answers = []
    for target, model, runs in CASES:
        found = [aa(target, bench.made / model, bench, number) for number in range(runs)]
        ratios = [speedup(samples, "p50_ms", "same", "float32") for samples in found]
        claims = sum(comparison(ratio) != "no difference" for ratio in ratios)
        off = sum(control_is_off(samples) is not None for samples in found)
        rounds, points = [samples.rounds for samples in found], [ratio.point for ratio in ratios]
        note = f"{runs} runs, {min(rounds)} to {max(rounds)} rounds, ratios {min(points):.3f} to {max(points):.3f}"
        name = f"A/A, {target.runtime}"
        answers += [
            Row(f"{name}: runs that claim a difference (%)", 100 * claims / runs, at_most=5, note=note),
            Row(f"{name}: runs whose control is off by over 5 % (%)", 100 * off / runs, at_most=10),
        ]
    return answers


def aa(target: OnnxRuntime | TensorFlow, folder: Path, bench: Bench, number: int) -> Samples:
    """One measurement of float32 against itself, twice."""
    out = bench.folder / f"aa-{target.runtime}-{number}"
    out.mkdir()
    request = MeasureRequest(
        contenders=tuple(Contender(name=name, folder=str(folder)) for name in ("float32", CONTROL, "same")),
        target=target,
        split=open_dataset(bench.made / "data")["test"],
        out=str(out),
    )
    result = measure(request, lambda calls: undecided(GATES, Samples(calls_ms=calls, control=CONTROL), "cpu"))
    return gather(result, read_samples(out), None)
