"""Hand-made ONNX models, for what no exported model shows."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.data.dataset import Split
from tasks.models.signature import Signature, TensorSpec
from tasks.techniques.apply import CompressRequest, compress


def write(folder, nodes, constants, inputs=(("x", 4),), outputs=(("y", 3),), kind=TensorProto.FLOAT):
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(name, kind, ["batch", size]) for name, size in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    dtype = "float32" if kind == TensorProto.FLOAT else "int64"
    Signature(
        inputs={name: TensorSpec(dtype=dtype, shape=(None, size)) for name, size in inputs},
        outputs={name: TensorSpec(dtype="float32", shape=(None, size)) for name, size in outputs},
    ).write(folder)
    return folder


def dense(folder, weights=None, bias=None):
    generator = np.random.default_rng(3)
    return write(
        folder,
        [
            helper.make_node("MatMul", ["x", "w"], ["p"], name="net/dense_1/MatMul"),
            helper.make_node("Add", ["p", "b"], ["y"], name="net/dense_1/Add"),
        ],
        {
            "w": generator.normal(size=(4, 3)).astype(np.float32) if weights is None else weights,
            "b": np.ones(3, np.float32) if bias is None else bias,
        },
    )


def rows(folder, values, name="x"):
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / f"{name}.npy", values)
    return Split(folder=str(folder), inputs=(name,), rows=len(values))


def normal_rows(folder, count=64, width=4, seed=0):
    return rows(folder, np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32))


def run(source, split, out, **technique):
    out.mkdir(parents=True)
    result = compress(CompressRequest(source=str(source), technique=technique, calibration=split, out=str(out)))
    assert json.loads((out / "evidence.json").read_text()) == json.loads(json.dumps(result.evidence))
    return result


def operators(folder):
    return [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
