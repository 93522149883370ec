"""The weights of a layer as they stand in an ONNX file: what pruning and clustering promise must be seen there.

Conversion folds batch norms into them, turns matrices over, quantizes; zeros stay zeros through all of that, and the
number of distinct values of an output channel does not grow.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.models.onnx_graph import attribute, bodies
from tasks.techniques.constants import Constant, Use, uses

Array = np.ndarray[Any, Any]
# Operators whose second input is the weight.
_WEIGHTED = frozenset({"Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "QLinearConv"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


class Weight(NamedTuple):
    """One constant that an operator of a layer multiplies with.

    Attributes:
        node: name of the operator.
        values: (..., input channels, output channels); integers of a quantized weight less their zero point.
    """

    node: str
    values: Array


def of_layers(model: Any, layers: Mapping[str, object]) -> tuple[dict[str, list[Weight]], list[Weight]]:
    """Weights by layer, found by the layer's name in the path of the operators' names.

    Args:
        model: ModelProto.
        layers: whose keys are names of layers.

    Returns:
        Layer -> its weights, an empty list for a layer whose operators are not to be found; and the weights of all
        operators that belong to none of the layers.
    """
    found: dict[str, list[Weight]] = {layer: [] for layer in layers}
    rest: list[Weight] = []
    arrays = _Arrays(model.graph)
    seen: set[tuple[str | None, Constant]] = set()
    for use in uses(model.graph):
        layer = _layer(use, layers)
        for constant in _matrices(use):
            if (layer, constant) not in seen:
                seen.add((layer, constant))
                weight = Weight(use.node.name, _as_keras(use.node, arrays.value(constant)))
                (rest if layer is None else found[layer]).append(weight)
    return found, rest


def _layer(use: Use, layers: Mapping[str, object]) -> str | None:
    """The longest name in the path, or the whole of several parts of it."""
    text = f"/{use.node.name}/{use.inside}/".replace("'", "/").replace(" ", "/")
    fitting = [layer for layer in layers if f"/{layer}/" in text]
    return max(fitting, key=len, default=None)


def _matrices(use: Use) -> list[Constant]:
    import onnx

    types = onnx.TensorProto
    others = (types.BOOL, types.INT32, types.INT64, types.STRING)
    if use.node.op_type not in _WEIGHTED | _RECURRENT | {"Gather", "Einsum"}:
        return []
    return [each for each in use.constants if len(each.dims) >= 2 and each.kind not in others and each.elements > 1]


def _as_keras(node: Any, values: Array) -> Array:
    """A weight in the order of Keras: (kernel, input channels, output channels)."""
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        return np.moveaxis(values, (1, 0), (-2, -1))
    if node.op_type == "ConvTranspose":
        return np.moveaxis(values, (0, 1), (-2, -1))
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        return values.T
    return np.moveaxis(values, 1, -1) if node.op_type in _RECURRENT else values


class _Arrays:
    """Constants of all graphs as arrays, numbered as `constants.uses` numbers graphs."""

    def __init__(self, graph: Any) -> None:
        self._graphs: list[dict[str, Any]] = []
        self._zeros = dict(_zero_points(graph))
        self._visit(graph)

    def value(self, constant: Constant) -> Array:
        import onnx

        array: Array = onnx.numpy_helper.to_array(self._graphs[constant.graph][constant.name])
        zero = self._find(self._zeros.get(constant.name))
        if zero is None or not zero.any():
            return array
        return array.astype(np.int32) - zero.astype(np.int32)

    def _find(self, name: str | None) -> Array | None:
        import onnx

        for known in self._graphs:
            if name in known:
                found: Array = onnx.numpy_helper.to_array(known[name])
                return found
        return None

    def _visit(self, graph: Any) -> None:
        own = {item.name: item for item in graph.initializer}
        self._graphs.append(own)
        for node in graph.node:
            if node.op_type == "Constant":
                own[node.output[0]] = attribute(node, "value")
            for body in bodies(node):
                self._visit(body)


def _zero_points(graph: Any) -> Iterator[tuple[str, str]]:
    """(weight, its zero point) of every node that has both by name."""
    for node in graph.node:
        position = {"DequantizeLinear": (0, 2), "MatMulInteger": (1, 3), "ConvInteger": (1, 3)}.get(node.op_type)
        if position and len(node.input) > position[1]:
            yield node.input[position[0]], node.input[position[1]]
        for body in bodies(node):
            yield from _zero_points(body)
