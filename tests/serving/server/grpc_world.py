"""A host with small ONNX models, answering over gRPC from an event loop in a thread of its own."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper

from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.serving.served import Served
from tasks.serving.server.grpc_v2 import service
from tasks.serving.server.grpc_v2.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tasks.serving.server.host import Host
from tasks.serving.server.hosted import Hosted
from tasks.serving.server.line import Line
from tasks.serving.server.metrics import Metrics, ModelMetrics
from tasks.serving.server.resident import Resident
from tasks.serving.server.settings import ServeSettings

HANG_S = 30
DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": "BYTES",
}


class SlowResident(Resident):
    """A version whose calls take a while."""

    def run(self, feeds):
        time.sleep(0.4)
        return super().run(feeds)


class HeldResident(Resident):
    """A version whose calls last until they are let go."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.let_go = threading.Event()

    def run(self, feeds):
        assert self.let_go.wait(HANG_S)
        return super().run(feeds)


def wait_until(is_so) -> None:
    """Look again and again, for a while."""
    end = time.monotonic() + HANG_S
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


class World:
    """A host, and the stub of a client."""

    def __init__(self, root: Path, **settings) -> None:
        self.root = root
        self.host = Host(ServeSettings(root=str(root), **settings), Metrics())
        self.host._started = True  # by hand: these models come from no pointer
        self.loader = ThreadPoolExecutor(1)
        self.stub = None
        self.channel = None
        self.address = None

    def add(self, name: str, version: int, kind: type = Resident, run_s: float = 0.0, **served) -> Hosted:
        """Put the model in `root/name` into memory as a version."""
        session = OnnxRuntime(runtime="onnxruntime").open(self.root / name.partition("-")[0])
        resident = kind(version, "d" * 64, session.signature, session, run_s=run_s, row_s=0.0, load_s=0.0, threads=1000)
        hosted = self.host.models.get(name) or self.empty(name)
        hosted.residents[version] = hosted.current = resident
        hosted.line.served = Served(**served)
        return hosted

    def empty(self, name: str) -> Hosted:
        """A model without a version."""
        metrics = ModelMetrics(self.host.metrics, name)
        hosted = Hosted(name, self.root, self.loader, Line(self.loader, metrics.ran), metrics)
        self.host.models[name] = hosted
        return hosted

    @contextmanager
    def serving(self, new_loop=uvloop.new_event_loop, at_end=lambda: None) -> Iterator["World"]:
        """Answer until the block ends; then, while clients are still connected, call `at_end`."""
        loop = new_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        def run(work):
            return asyncio.run_coroutine_threadsafe(work, loop).result(HANG_S)

        server, port = run(service.start(self.host, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{port}"
        try:
            with grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
                self.channel, self.stub = channel, GRPCInferenceServiceStub(channel)
                try:
                    yield self
                finally:
                    run(service.stop(server, HANG_S))
                    at_end()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(HANG_S)
            loop.close()


def write_models(root: Path) -> None:
    """`every` gives back one input of each dtype, `<dtype>` one of that; `add` gives sum and difference of two."""
    every = {name: TensorSpec(dtype=name, shape=(None, 2)) for name in DATATYPES}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in every]
    _write(root / "every", nodes, every, {f"{name}_out": spec for name, spec in every.items()})
    for name, spec in every.items():
        _write(root / name, [helper.make_node("Identity", ["x"], ["y"])], {"x": spec}, {"y": spec})
    three = TensorSpec(dtype="float32", shape=(None, 3))
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    _write(root / "add", nodes, {"a": three, "b": three}, {"sum": three, "difference": three})
    free = TensorSpec(dtype="str", shape=(None, None))
    _write(root / "words", [helper.make_node("Identity", ["w"], ["v"])], {"w": free}, {"v": free})
    half = TensorSpec(dtype="float16", shape=(None, 3))
    cast = helper.make_node("Cast", ["a"], ["half"], to=TensorProto.FLOAT16)
    _write(root / "half", [cast], {"a": three}, {"half": half})


def _write(folder: Path, nodes, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec]) -> None:
    folder.mkdir(parents=True)
    graph = helper.make_graph(nodes, "model", _infos(inputs), _infos(outputs))
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    Signature(inputs=inputs, outputs=outputs).write(folder)


def _infos(specs: dict[str, TensorSpec]):
    return [
        helper.make_tensor_value_info(
            name, _onnx_type(spec.dtype), [size or f"d{at}" for at, size in enumerate(spec.shape)]
        )
        for name, spec in specs.items()
    ]


def _onnx_type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(object if dtype == "str" else dtype))
