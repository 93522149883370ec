"""How often the latency measurement sees a difference where there is none: one file under three names, measured."""

from tasks.data.dataset import open_dataset
from tasks.evaluation.assess import CONTROL, gather
from tasks.evaluation.gates import Gate
from tasks.evaluation.judge import undecided
from tasks.evaluation.latency import Samples, comparison, control_is_off, speedup
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.samples import Contender, MeasureRequest, read_samples
from tasks.runtimes.timing import measure
from tests.benchmarks.bench import Bench
from tests.benchmarks.table import Row

RUNS = 20
GATES = [Gate(metric="p50_ms", min_speedup=1.05)]


def rows(bench: Bench) -> list[Row]:
    """Shares of runs; each with as many rounds as the gate asks for."""
    off, claims, ratios, rounds = 0, 0, [], []
    for number in range(RUNS):
        samples = aa(bench, number)
        ratio = speedup(samples, "p50_ms", "same", "float32")
        off += control_is_off(samples) is not None
        claims += comparison(ratio) != "no difference"
        ratios.append(ratio.point)
        rounds.append(samples.rounds)
    note = f"{RUNS} runs, {min(rounds)} to {max(rounds)} rounds, ratios {min(ratios):.3f} to {max(ratios):.3f}"
    return [
        Row("A/A: runs where a difference is claimed (%)", 100 * claims / RUNS, at_most=5, note=note),
        Row("A/A: runs where the control is off by more than 5 % (%)", 100 * off / RUNS, at_most=10),
    ]


def aa(bench: Bench, number: int) -> Samples:
    """One measurement of float32 against itself, twice."""
    folder = str(bench.made / "onnx" / "float32")
    out = bench.folder / f"aa-{number}"
    out.mkdir()
    request = MeasureRequest(
        contenders=tuple(Contender(name=name, folder=folder) for name in ("float32", CONTROL, "same")),
        target=OnnxRuntime(runtime="onnxruntime", threads=1, batch_size=1),
        split=open_dataset(bench.made / "data")["test"],
        out=str(out),
    )
    result = measure(request, lambda calls: undecided(GATES, Samples(calls_ms=calls, control=CONTROL), "cpu"))
    return gather(result, read_samples(out), None)
