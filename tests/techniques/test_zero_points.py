"""Sharing equal zero points makes the file smaller and changes no output."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tasks.techniques.zero_points import share


def dequantized(name: str, zeros: list[int]) -> tuple[list, onnx.NodeProto]:
    """Four integers under a name, and the node that makes them numbers along axis 0."""
    constants = {
        name: np.array([1, 2, 3, 4], np.int8),
        f"{name}_scale": np.array([0.5, 1.0, 2.0, 4.0], np.float32),
        f"{name}_zero": np.array(zeros, np.int8),
    }
    node = helper.make_node("DequantizeLinear", list(constants), [f"{name}_out"], axis=0)
    return [numpy_helper.from_array(value, key) for key, value in constants.items()], node


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {})


def test_equal_zero_points_become_one_and_others_stay():
    parts = [dequantized("a", [0] * 4), dequantized("b", [0] * 4), dequantized("c", [0, 0, 0, 1])]
    outputs = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [4]) for name in "abc"]
    constants = [constant for found, _ in parts for constant in found]
    graph = helper.make_graph([node for _, node in parts], "g", [], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    before = run(model)

    share(model.graph)

    onnx.checker.check_model(model, full_check=True)
    assert [node.input[2] for node in model.graph.node] == ["a_zero", "a_zero", "c_zero"]
    assert len(model.graph.initializer) == len(constants) - 1
    assert all(np.array_equal(one, other) for one, other in zip(before, run(model), strict=True))
