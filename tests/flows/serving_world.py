"""A home with released versions of small real ONNX models, and the real `python -m flows` on it.

Releases take a minute; what they leave (bundles in the store, registered versions in the journal) takes milliseconds.
Everything after that is what users run: `promote`, `rollback`, `serve`, `predict`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from flows.control import open_control
from flows.home import Home
from tasks.bundle.golden import Origin, make_golden
from tasks.bundle.manifest import FileEntry, MadeBy, Manifest, ServingEntry, TargetEntry
from tasks.bundle.verify import target_digest
from tasks.models.signature import Signature, TensorSpec
from tasks.promotion import moves
from tasks.promotion.control import Order
from tasks.promotion.registration import record_version
from tasks.runtimes.onnxruntime import OnnxRuntime
from tasks.runtimes.rows import run_rows
from tasks.store.digest import digest_file, list_files
from tasks.store.store import Store

ROOT = Path(__file__).parents[2]
PIXELS, CLASSES = 64, 10
IMAGE = {"image": TensorSpec(dtype="float32", shape=(None, 8, 8, 1))}
LOGITS = {"logits": TensorSpec(dtype="float32", shape=(None, CLASSES))}
ANN = Order(actor="ann", reason="passed")
HANG_S = 60


class ServingWorld:
    """One home.

    Attributes:
        home: SLIPWAY_HOME.
        environment: of every command.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {key: value for key, value in os.environ.items() if key != "SLIPWAY_SERVER"}
        self.environment |= {"SLIPWAY_HOME": str(self.home), "SLIPWAY_ACTOR": "ann"}
        self._store = Store(str(self.home / "store"), self.home / "store")
        self._control = open_control(Home(self.home), self._store)
        self._drafts = folder / "drafts"

    @property
    def serving(self) -> Path:
        """The serving folder."""
        return self.home / "serving"

    def register(self, model: str, version: int, weights: np.ndarray[Any, Any] | None = None) -> None:
        """What a release with `--no-promote` leaves of `digits` (with weights of your own, if you like) or `people`."""
        draft = self._drafts / f"{model}-{version}"
        target = draft / "targets" / "cpu"
        target.mkdir(parents=True)
        weights = digit_weights(version) if weights is None else weights
        rows = write_digits(target, weights) if model == "digits" else write_people(target, version)
        signature = Signature.read(target)
        session = OnnxRuntime(runtime="onnxruntime").open(target)
        runtime = {"runtime": "onnxruntime", "threads": 1, "batch_size": 1}
        make_golden(target / "golden", rows, lambda feeds: run_rows(session, feeds), Origin(runtime=runtime))
        files = {
            name: FileEntry(sha256=digest_file(path), size=path.stat().st_size)
            for name, path in list_files(draft).items()
        }
        own = {name.removeprefix("targets/cpu/"): entry for name, entry in files.items()}
        entry = TargetEntry(
            candidate="int8",
            form="onnx",
            path="targets/cpu",
            digest=target_digest(own),
            winner=digest_file(target / "model.onnx"),
            runtime=runtime,
        )
        manifest = Manifest(
            schema=1,
            model=model,
            targets={"cpu": entry},
            serving=(ServingEntry(kind="onnx_server", target="cpu"),),
            signature=signature,
            made_by=MadeBy(release=f"r{version}", config="c1", created="2026-11-24T00:00:00+00:00"),
            files=files,
        )
        manifest.write(draft)
        artifact = self._store.publish(draft, "bundle", {})
        self._store.write(f"bundles/{manifest.digest}.json", artifact.model_dump_json())
        record_version(self._control, model, version, manifest.digest, ANN)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flows", *words],
            env={**self.environment, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )

    def promote(self, model: str, version: int) -> None:
        """Put a version in production, without its trial and MLflow."""
        moves.promote(replace(self._control, validate=False), model, version, ANN)

    @contextmanager
    def server(self, *words: str) -> Iterator[dict[str, Any]]:
        """A server until the block ends; gives what it announces."""
        with serving([sys.executable, "-m", "flows", "serve", "--port", "0", *words], self.environment) as where:
            yield where


@contextmanager
def serving(command: list[str], environment: dict[str, str], cwd: Path = ROOT) -> Iterator[dict[str, Any]]:
    """A server that was started with --json, until the block ends; then it must end by itself, and well."""
    process = subprocess.Popen(
        [*command, "--json"], env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith('{"url"'), f"{line}{process.communicate(timeout=HANG_S)[1]}"
        yield json.loads(line)
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=HANG_S)
        assert (process.returncode, out) == (0, ""), log
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def digits(rows: int) -> np.ndarray[Any, Any]:
    """Pictures: (rows, 8, 8, 1)."""
    return np.random.default_rng(0).random((rows, 8, 8, 1), dtype=np.float32)


def digit_weights(version: int) -> np.ndarray[Any, Any]:
    """(64, 10) of a version."""
    return np.random.default_rng(version).standard_normal((PIXELS, CLASSES)).astype(np.float32)


def write_digits(folder: Path, weights: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A linear classifier of 8 x 8 pictures; gives rows for golden requests."""
    nodes = [
        helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
    ]
    constants = {"flat": np.array([-1, PIXELS], np.int64), "weights": weights}
    _write(folder, nodes, constants, IMAGE, LOGITS)
    return {"image": digits(16)}


def write_people(folder: Path, version: int) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs and outputs of many kinds: `age + version` and the words as they came; gives rows for golden requests."""
    inputs = {
        "age": TensorSpec(dtype="int64", shape=(None,)),
        "body": TensorSpec(dtype="float32", shape=(None, 2)),
        "member": TensorSpec(dtype="bool", shape=(None, 1)),
        "town": TensorSpec(dtype="str", shape=(None,)),
    }
    outputs = {
        "older": TensorSpec(dtype="int64", shape=(None,)),
        "measures": TensorSpec(dtype="float32", shape=(None, 2)),
        "is_member": TensorSpec(dtype="bool", shape=(None, 1)),
        "home": TensorSpec(dtype="str", shape=(None,)),
    }
    pairs = zip(list(inputs)[1:], list(outputs)[1:], strict=True)
    nodes = [helper.make_node("Identity", [name], [to]) for name, to in pairs]
    nodes.append(helper.make_node("Add", ["age", "years"], ["older"]))
    _write(folder, nodes, {"years": np.array(version, np.int64)}, inputs, outputs)
    return {
        "age": np.arange(16),
        "body": np.random.default_rng(0).random((16, 2), dtype=np.float32),
        "member": np.arange(16).reshape(-1, 1) % 2 == 0,
        "town": np.array([f"town {row}" for row in range(16)]),
    }


def _write(folder: Path, nodes: Any, constants: dict[str, Any], inputs: Any, outputs: Any) -> None:
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "model", _infos(inputs), _infos(outputs), values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    Signature(inputs=inputs, outputs=outputs).write(folder)


def _infos(specs: dict[str, TensorSpec]) -> list[Any]:
    return [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(np.dtype(object if spec.dtype == "str" else spec.dtype)),
            [size or "rows" for size in spec.shape],
        )
        for name, spec in specs.items()
    ]
