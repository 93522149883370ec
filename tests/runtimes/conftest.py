"""Tiny real models of both forms: y = x @ w, once as ONNX made by hand, once as a SavedModel."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.data.dataset import Split
from tasks.models.signature import Signature, TensorSpec

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def signature(batchless: tuple[int, ...] = (4,), dtype: str = "float32") -> Signature:
    return Signature(
        inputs={"x": TensorSpec(dtype=dtype, shape=(None, *batchless))},
        outputs={"y": TensorSpec(dtype="float32", shape=(None, 3))},
    )


def write_onnx(folder: Path, nodes: list[Any] | None = None, batch: int | None = None, weights: Any = WEIGHTS) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True)
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    signature().write(folder)
    return folder


def write_saved_model(folder: Path) -> Path:
    import tensorflow as tf

    class Tiny(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(WEIGHTS)

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": x @ self.w}

    module = Tiny()
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.serve)
    signature().write(folder)
    return folder


@pytest.fixture(scope="session")
def weights() -> Any:
    return WEIGHTS


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., Path]:
    return write_onnx


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("models") / "onnx")


@pytest.fixture(scope="session")
def tiny_saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("models") / "savedmodel")


@pytest.fixture
def make_split(tmp_path: Path) -> Callable[..., Split]:
    def make(rows: int = 100, **inputs: Any) -> Split:
        arrays = inputs or {"input": np.random.default_rng(0).random((rows, 4)).astype(np.float32)}
        folder = tmp_path / "data" / "test"
        (folder / "inputs").mkdir(parents=True)
        for name, array in arrays.items():
            np.save(folder / "inputs" / f"{name}.npy", array)
        return Split(folder=str(folder), inputs=tuple(arrays), rows=len(next(iter(arrays.values()))))

    return make
