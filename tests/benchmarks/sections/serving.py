"""The embedded server against MLServer and `mlflow models serve`: the same files, rows, one thread and clients.

And what it adds to the bare runtime call; what binary tensors, batching and models of other sizes change.
"""

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.serving.served import Batching, Served
from tests.benchmarks import servers, wire
from tests.benchmarks.bench import Bench
from tests.benchmarks.called import p50_ms
from tests.benchmarks.load import Load
from tests.benchmarks.served import TARGET, models, publish, rows_of
from tests.benchmarks.servers import Server
from tests.benchmarks.sides import Seen, Side, alternate
from tests.benchmarks.table import Row

BLOCKS, SECONDS = 5, 1.0
WANTED = {"MLServer": 2.5, "mlflow": 8.0}
CLIENTS = (1, 8)
CROWDS = (8, 32)
ADDED_MS = 0.25
NAMES = ("dense", "digits", "mobilenet")
MOST_NUMBERS = 2_000_000  # in all requests of one file: of large rows a few are sent in turn


def rows(bench: Bench) -> list[Row]:
    """Medians over blocks; ratios are of neighbouring blocks."""
    folder, made = bench.folder / "serving", models(bench)
    root = folder / "root"
    for name in NAMES:
        publish(root, name, made / name)
    publish(root, "batched", made / "dense", Served(batching=Batching()))
    files = {name: made / name / "onnx" / "model.onnx" for name in NAMES}
    with (
        Load(folder / "load") as load,
        servers.mlserver(folder / "mlserver", files) as mlserver,
        servers.mlflow(folder / "mlflow", files["dense"]) as mlflow,
        servers.ours(root, folder / "ours.log") as ours,
    ):
        wanted = _Wanted(load, made, ours, mlserver, mlflow)
        return [*wanted.compared(), *wanted.forms(), *wanted.batching(), *wanted.others(), wanted.failures()]


class _Wanted:
    """The rows, from running servers."""

    def __init__(self, load: Load, made: Path, ours: Server, mlserver: Server, mlflow: Server) -> None:
        self.load, self.made, self.ours, self.mlserver, self.mlflow = load, made, ours, mlserver, mlflow
        self.bad, self.why = 0, set[str]()

    def compared(self) -> list[Row]:
        """The small model by JSON, all three servers."""
        json_rows = self._requests("dense", wire.oip)
        sides = {
            "Slipway": Side(self.ours.port, json_rows),
            "MLServer": Side(self.mlserver.port, json_rows),
            "mlflow": Side(self.mlflow.port, self._requests("dense", lambda _, __, rows: wire.invocations(rows))),
        }
        different = sum(self._different(side) for side in sides.values())
        answers = [Row("dense, answers that are not the bare call's, all servers", different, at_most=0)]
        for clients in CLIENTS:
            bare: list[float] = []
            seen = self._load(sides, clients, lambda bare=bare: bare.append(p50_ms(self.made / "dense", 0.5)))
            for name, each in seen.items():
                answers.append(_rate(f"dense, {name}, {_crowd(clients)}", each))
            for name, at_least in WANTED.items():
                ratio = seen["Slipway"].over(seen[name])
                answers.append(Row(f"dense, Slipway over {name}, requests/s, {_crowd(clients)}", ratio, None, at_least))
            if clients == 1:
                answers.append(_added("dense", seen["Slipway"], bare, at_most=ADDED_MS))
        return answers

    def forms(self) -> list[Row]:
        """JSON and binary tensors."""
        sides = {
            "JSON": Side(self.ours.port, self._requests("dense", wire.oip)),
            "binary": Side(self.ours.port, self._requests("dense", wire.oip_binary)),
        }
        seen = {clients: self._load(sides, clients)["binary"] for clients in CLIENTS}
        return [_rate(f"dense, Slipway, binary tensors, {_crowd(clients)}", each) for clients, each in seen.items()]

    def batching(self) -> list[Row]:
        """The same file with and without."""
        sides = {
            "off": Side(self.ours.port, self._requests("dense", wire.oip)),
            "on": Side(self.ours.port, self._requests("batched", wire.oip, "dense")),
        }
        answers = []
        for clients in CROWDS:
            for name, each in self._load(sides, clients).items():
                answers.append(_rate(f"dense, Slipway, batching {name}, {_crowd(clients)}", each))
        return answers

    def others(self) -> list[Row]:
        """Models of other sizes, one client: a small net, and one whose computation is what a request costs.

        MLServer takes no binary tensors over HTTP, so that of the large one it gets numbers as JSON.
        """
        answers = []
        for name, form in (("digits", wire.oip), ("mobilenet", wire.oip_binary)):
            sides = {
                "Slipway": Side(self.ours.port, self._requests(name, form)),
                "MLServer": Side(self.mlserver.port, self._requests(name, wire.oip)),
            }
            model, bare = self.made / name, list[float]()
            seen = self._load(sides, 1, lambda bare=bare, model=model: bare.append(p50_ms(model, 0.5)))
            forms = {"Slipway": f", {_FORMS[form]}", "MLServer": ", JSON"}
            answers += [_rate(f"{name}, {server}{forms[server]}, 1 client", each) for server, each in seen.items()]
            answers.append(_added(name, seen["Slipway"], bare))
        return answers

    def failures(self) -> Row:
        """Of everything."""
        return Row(
            "requests that were not answered with 200, all servers", self.bad, at_most=0, note="; ".join(self.why)
        )

    def _load(
        self, sides: Mapping[str, Side], clients: int, between: Callable[[], object] = lambda: None
    ) -> dict[str, Seen]:
        seen = alternate(self.load, sides, clients, BLOCKS, SECONDS, between)
        self.bad += sum(each.bad for each in seen.values())
        self.why |= {block.why for each in seen.values() for block in each.blocks if block.bad}
        return seen

    def _requests(self, name: str, form: Callable[[str, str, Any], bytes], model: str = "") -> str:
        tensor, rows = rows_of(self.made / (model or name))
        count = min(len(rows), MOST_NUMBERS // rows[0].size)
        bodies = [form(name, tensor, rows[number : number + 1]) for number in range(count)]
        return self.load.requests(f"{name}-{form.__name__.strip('<>')}", bodies)

    def _different(self, side: Side) -> int:
        """Answers about `dense` that are further from the bare call's than rounding."""
        name, rows = rows_of(self.made / "dense")
        (expected,) = TARGET.open(self.made / "dense" / "onnx").run({name: rows}).values()
        answers = self.load.block(side.port, side.requests, 1, 1.0, keep=True).answers
        close = [np.allclose(numbers(body), expected[row], rtol=1e-4, atol=1e-5) for row, body in answers]
        return close.count(False) if close else len(rows)


_FORMS = {wire.oip: "JSON", wire.oip_binary: "binary tensors"}


def numbers(body: bytes) -> list[float]:
    """What an answer holds: of the Open Inference Protocol, or MLflow's."""
    content = json.loads(body)
    if "outputs" in content:
        return list(np.ravel(content["outputs"][0]["data"]))
    return list(np.ravel(next(iter(content["predictions"].values()))))


def _crowd(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _rate(name: str, seen: Seen) -> Row:
    return Row(f"{name} (requests/s)", seen.rate, note=seen.told())


def _added(name: str, seen: Seen, bare: list[float], at_most: float | None = None) -> Row:
    """What a request costs above the runtime's call, as one client sees it."""
    pairs = zip(seen.blocks, bare, strict=True)
    added = statistics.median(block.quantile(0.5) - call for block, call in pairs)
    note = f"{seen.quantile(0.5):.3f} ms, bare call {statistics.median(bare):.3f}"
    return Row(f"{name}, Slipway, p50 above the bare call (ms)", added, at_most=at_most, note=note)
