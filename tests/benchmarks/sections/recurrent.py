"""What a GRU gains by ONNX's own operator over the Loop that its SavedModel becomes."""

from tasks.evaluation.assess import CONTROL
from tasks.evaluation.latency import speedup
from tests.benchmarks.bench import Bench
from tests.benchmarks.process import run
from tests.benchmarks.published import rows_of
from tests.benchmarks.table import Row
from tests.benchmarks.timed import interval, timed

ROUNDS = 10


def rows(bench: Bench) -> list[Row]:
    """One thread, batch 1."""
    out = bench.folder / "recurrent"
    run(["tests.benchmarks.recurrent", str(out)])
    models = {"float32": out / "float32", "loop": out / "loop"}
    samples = timed(models, rows_of(out), bench.folder / "latency-recurrent", ROUNDS)
    slower, control = (speedup(samples, "p50_ms", name, "float32") for name in ("loop", CONTROL))
    note = f"90 % interval of its inverse {interval(slower)}, A/A control {control.point:.3f}"
    return [Row("GRU over its loop, p50 speed-up", 1 / slower.point, at_least=2, note=note)]
