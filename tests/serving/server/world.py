"""A serving folder of tiny real ONNX models and a real server process on it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tasks.bundle.golden import Origin, make_golden
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.rows import run_rows
from tasks.serving import pointer as pointers
from tasks.serving.pointer import Pointer
from tasks.serving.server.settings import ServeSettings
from tasks.store.digest import digest_folder

WIDTH = 4
ROWS = np.random.default_rng(0).random((16, WIDTH)).astype(np.float32)


def write_model(folder: Path, factor: float, extra: tuple[Any, ...] = (), last: str = "scaled") -> None:
    """`y = factor * x`, and what `extra` nodes make of it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Mul", ["x", "factor"], ["scaled"]), *extra, helper.make_node("Identity", [last], ["y"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(
        nodes, "tiny", tensors[:1], tensors[1:], [numpy_helper.from_array(np.float32([factor]), "factor")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    spec = TensorSpec(dtype="float32", shape=(None, WIDTH))
    Signature(inputs={"x": spec}, outputs={"y": spec}).write(folder)


def heavy(size: int) -> dict[str, Any]:
    """A model that multiplies two matrices of `size` x `size` for every call; its answer is `scaled` all the same."""
    from onnx import TensorProto, helper

    def constant(name: str, values: list[int]) -> Any:
        return helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        )

    nodes = (
        constant("square", [size, size]),
        helper.make_node("ReduceMax", ["scaled"], ["most"], keepdims=0),
        helper.make_node("Expand", ["most", "square"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["large"], keepdims=0),
        helper.make_node("Sub", ["large", "large"], ["nothing"]),
        helper.make_node("Add", ["scaled", "nothing"], ["same"]),
    )
    return {"extra": nodes, "last": "same"}


def write_golden(folder: Path) -> None:
    """Golden requests with the model's own answers."""
    runtime = OnnxRuntime(runtime="onnxruntime")
    session = runtime.open(folder)
    origin = Origin(runtime=runtime.model_dump(mode="json"))
    make_golden(folder / "golden", {"x": ROWS}, lambda feeds: run_rows(session, feeds), origin)


@dataclass
class ServingFolder:
    """`serving/`, with versions whose answer is `version * x`."""

    root: Path
    model: str = "tiny"

    @property
    def base(self) -> Path:
        return self.root / "onnx_server" / self.model

    def stage(self, version: int, factor: float | None = None, **graph: Any) -> str:
        """Write a version; its digest."""
        folder = self.base / str(version)
        folder.mkdir(parents=True)
        write_model(folder, version if factor is None else factor, **graph)
        write_golden(folder)
        return digest_folder(folder)

    def point(self, serial: int, version: int, previous: int | None = None, **settings: Any) -> Pointer:
        """Let the pointer name a version that was staged."""
        base = self.base
        pointer = Pointer(
            serial=serial,
            version=version,
            digest=digest_folder(base / str(version)),
            previous=previous,
            previous_digest=digest_folder(base / str(previous)) if previous else None,
            settings=settings,
        )
        pointers.write(base, pointer)
        return pointer


@dataclass
class Server:
    """A server process and how to talk to it about one model."""

    process: "subprocess.Popen[str]"
    announced: dict[str, Any]
    log: Path
    model: str = "tiny"

    @property
    def url(self) -> str:
        return self.announced["url"]

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, admin: bool = False
    ) -> tuple[int, Any, dict[str, str]]:
        """One request on a connection of its own: status, JSON or bytes, headers in lower case."""
        place = urlsplit(self.announced["admin" if admin else "url"])
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            data = json.dumps(body) if isinstance(body, dict | list) else body
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            got = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        return answer.status, json.loads(content) if "json" in got.get("content-type", "") else content, got

    def infer(self, values: Any, version: int | None = None) -> tuple[int, Any]:
        """One OIP request of one row."""
        where = f"/versions/{version}" if version is not None else ""
        body = {"inputs": [{"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": list(values)}]}
        return self.call("POST", f"/v2/models/{self.model}{where}/infer", body)[:2]

    def status(self) -> dict[str, Any]:
        """What the admin port tells of a model."""
        return self.call("GET", "/status", admin=True)[1]["models"][self.model]

    def follow(self, serial: int, wait_s: float = 30) -> dict[str, Any]:
        """Have the pointer followed."""
        return self.call("POST", f"/follow/{self.model}?serial={serial}&wait_s={wait_s}", admin=True)[1]

    def metric(self, family: str) -> float:
        """The sum of a family's lines for the model in /metrics."""
        lines = self.call("GET", "/metrics")[1].decode().splitlines()
        own = f'model="{self.model}"'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"slipway_{family}{{") and own in line)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def serving(
    root: Path, log: Path, environment: dict[str, str] | None = None, prologue: str = "", **settings: Any
) -> Iterator[Server]:
    """A server process on a free port, ready or told why not; `prologue` is code that runs before it."""
    code = f"{prologue}import sys; from tasks.serving.server.__main__ import main; sys.exit(main())"
    words = ["-c", code] if prologue else ["-m", "tasks.serving.server"]
    told = ServeSettings(root=str(root), port=settings.pop("port", 0), **settings).model_dump_json()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *words, told],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line, log.read_text()
            yield Server(process, json.loads(line), log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            process.wait(60)


def eventually(holds: Any, seconds: float = 30) -> None:
    """Wait until something holds; a hang fails."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.01)
