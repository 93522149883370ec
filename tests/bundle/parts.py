"""Tiny real parts: an ONNX candidate and its golden requests, made in milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.golden import Origin, make_golden
from tasks.bundle.write import BundleRequest, Winner
from tasks.models.signature import Signature, TensorSpec
from tasks.store.digest import digest_folder

SIGNATURE = Signature(
    inputs={"image": TensorSpec(dtype="float32", shape=(None, 4))},
    outputs={"scores": TensorSpec(dtype="float32", shape=(None, 3))},
)


def weights(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)


def rows(count: int = 16) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(count, 4)).astype(np.float32)


def onnx_candidate(folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "kernel"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights(seed), "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    SIGNATURE.write(folder)
    (folder / "evidence.json").write_text("{}")
    return folder


def session_run(model: Path) -> Any:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return lambda feeds: dict(zip(["scores"], session.run(["scores"], feeds), strict=True))


def onnx_winner(folder: Path, seed: int = 0) -> Winner:
    candidate = onnx_candidate(folder / "candidate", seed)
    origin = Origin(classification=True, cpu_flags=("avx2",))
    make_golden(folder / "golden", {"image": rows()}, session_run(candidate / "model.onnx"), origin)
    return Winner(
        candidate="int8",
        form="onnx",
        folder=str(candidate),
        digest=digest_folder(candidate),
        golden=str(folder / "golden"),
        runtime={"runtime": "onnxruntime", "threads": 1, "batch_size": 1},
        cpu_flags=("avx2",),
        environment={"onnxruntime": "1.32.0"},
    )


def request(folder: Path, winners: dict[str, Winner], release: str = "r1") -> BundleRequest:
    proof = folder / "proof.json"
    proof.parent.mkdir(parents=True, exist_ok=True)
    proof.write_text('{"kernels": 3}')
    return BundleRequest(
        model="digits",
        winners=winners,
        evidence={"proof.json": str(proof)},
        config={"name": "digits"},
        requirements=("mlflow==3.17.2", "onnx==1.23.2", "onnxruntime==1.32.0"),
        release=release,
        config_digest="c" * 64,
        out=str(folder / "bundle"),
    )
