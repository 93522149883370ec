"""Bundles of a real, tiny ONNX model, registered in a small installation: what servers and moves are tested with.

    world = RealWorld(tmp_path)
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

The model of version N computes `scores = image @ kernel(N)`, 4 inputs and 3 outputs: `expected(N, rows)`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.golden import Origin, make_golden
from tasks.bundle.manifest import ServingEntry
from tasks.bundle.write import BundleRequest, Winner, layout, seal
from tasks.journal.fold import ModelState, fold
from tasks.journal.journal import Journal
from tasks.models.signature import Signature, TensorSpec
from tasks.promotion.control import Control, Order
from tasks.promotion.publish import pointers
from tasks.promotion.registration import record_version
from tasks.store.digest import digest_folder

Array = np.ndarray[Any, Any]
ANN = Order(actor="ann", reason="looks good")
SIGNATURE = Signature(
    inputs={"image": TensorSpec(dtype="float32", shape=(None, 4))},
    outputs={"scores": TensorSpec(dtype="float32", shape=(None, 3))},
)


def kernel(version: int) -> Array:
    return np.random.default_rng(version).normal(size=(4, 3)).astype(np.float32)


def rows(count: int = 16) -> Array:
    return np.random.default_rng(7).normal(size=(count, 4)).astype(np.float32)


def expected(version: int, image: Array) -> Array:
    return image @ kernel(version)


def write_model(folder: Path, version: int) -> Path:
    """`model.onnx` and `signature.json`."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "kernel"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(kernel(version), "kernel")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    SIGNATURE.write(folder)
    return folder


def write_golden(folder: Path, model: Path) -> Path:
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    make_golden(
        folder, {"image": rows()}, lambda feeds: {"scores": session.run(None, feeds)[0]}, Origin(classification=True)
    )
    return folder


def write_bundle(folder: Path, version: int, model: str = "digits", settings: dict[str, Any] | None = None) -> str:
    """Write a sealed bundle under `folder`, named by its digest, which is returned.

    Args:
        folder: bundles lie in it; created.
        version: picks the weights.
        model: registered name.
        settings: of its `onnx_server` serving entry.
    """
    parts = folder.parent / "parts" / f"{model}-{version}-{len(list(folder.glob('*')))}"
    candidate = write_model(parts / "candidate", version)
    winner = Winner(
        candidate="int8",
        form="onnx",
        folder=str(candidate),
        digest=digest_folder(candidate),
        golden=str(write_golden(parts / "golden", candidate)),
        runtime={"runtime": "onnxruntime", "threads": 1, "batch_size": 1},
    )
    request = BundleRequest(
        model=model,
        winners={"cpu": winner},
        serving=(ServingEntry(kind="onnx_server", target="cpu", settings=settings or {}),),
        config={"name": model},
        requirements=("onnxruntime",),
        release=f"r{version}",
        config_digest="c" * 64,
        out=str(parts / "bundle"),
    )
    layout(request)
    digest = seal(request).digest
    folder.mkdir(parents=True, exist_ok=True)
    (parts / "bundle").rename(folder / digest)
    return digest


class RealWorld:
    """A home with models that really load; `root` is its serving folder."""

    def __init__(self, home: Path, settings: dict[str, Any] | None = None) -> None:
        self.home = home
        self.root = home / "serving"
        self.settings = settings or {}
        self.control = Control(
            journal=Journal(f"sqlite:///{home}/journal.db"),
            serving_root=self.root,
            locks=home / "locks",
            bundle_path=lambda digest: home / "bundles" / digest,
        )

    def register(self, *versions: int, model: str = "digits") -> "RealWorld":
        for version in versions:
            digest = write_bundle(self.home / "bundles", version, model, self.settings)
            record_version(self.control, model, version, digest, ANN)
        return self

    def state(self, model: str = "digits") -> ModelState:
        return fold(self.control.journal.events(model))

    def phases(self, model: str = "digits") -> list[str]:
        events = self.control.journal.events(model)
        return [f"{event.kind} {event.version} {event.phase}" for event in events if event.kind != "registered"]

    def pointed(self, model: str = "digits") -> int | None:
        found = pointers(self.control, model).get("onnx_server")
        return found.version if found else None

    def copy(self, version: int, model: str = "digits") -> Path:
        return self.root / "onnx_server" / model / str(version)
