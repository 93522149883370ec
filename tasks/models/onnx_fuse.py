"""Keras 3's layer normalization, eleven operators after conversion, as the one operator that ONNX has for it.

ONNX Runtime's own fusion does not know this order of operations (x * s - mean * s + beta, with s = gamma / deviation).
"""

from typing import Any, NamedTuple

import numpy as np

from tasks.models.onnx_graph import attribute, elements, initializers, producers
from tasks.models.onnx_shapes import Dim, Shapes


class _Norm(NamedTuple):
    source: str
    gamma: Any
    beta: Any
    epsilon: float


class _View(NamedTuple):
    """A graph by tensor name."""

    made: dict[str, Any]
    constants: dict[str, Any]
    shapes: Shapes

    def op(self, name: str, *kinds: str) -> Any:
        """The node that makes `name` if it is of one of these kinds."""
        node = self.made.get(name)
        return node if node is not None and node.op_type in kinds else None

    def split(self, name: str, kind: str) -> list[tuple[str, str]]:
        """Both orders of the two operands of a commutative node."""
        node = self.op(name, kind)
        return [] if node is None else [(node.input[0], node.input[1]), (node.input[1], node.input[0])]


def fuse_layer_normalization(graph: Any, shapes: Shapes) -> None:
    """Replace every match in place; what it was made of stays for the normal form to drop."""
    import onnx

    view = _View(producers(graph), initializers(graph), shapes)
    for node in graph.node:
        norm = _match(view, node.output[0]) if node.op_type == "Add" else None
        if norm is None:
            continue
        names = [f"{node.name}/gamma", f"{node.name}/beta"]
        for name, array in zip(names, (norm.gamma, norm.beta), strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        inputs, outputs = [norm.source, *names], [node.output[0]]
        fused = onnx.helper.make_node(
            "LayerNormalization", inputs, outputs, name=node.name, epsilon=norm.epsilon, axis=-1
        )
        node.CopyFrom(fused)


def _match(view: _View, name: str) -> _Norm | None:
    """Match x * s + shift, where shift is -mean * s, or that plus beta."""
    for scaled, shift in view.split(name, "Add"):
        for source, scale in view.split(scaled, "Mul"):
            epsilon, gamma = _scale(view, source, scale)
            beta = _shift(view, source, scale, shift)
            width = _width(view, source)
            if epsilon is not None and gamma is not None and beta is not None and width is not None:
                scales, shifts = _vector(gamma, width), _vector(beta, width)
                if scales is not None and shifts is not None:
                    return _Norm(source, scales, shifts, epsilon)
    return None


def _scale(view: _View, source: str, scale: str) -> tuple[float | None, Any]:
    """(epsilon, gamma) if `scale` is gamma / sqrt(variance + epsilon); gamma is 1 where there is none."""
    import onnx

    parts = [*view.split(scale, "Mul"), (scale, "")]
    for inverse, gamma in parts:
        reciprocal = view.op(inverse, "Reciprocal")
        root = view.op(reciprocal.input[0], "Sqrt") if reciprocal is not None else None
        if root is None or (gamma and gamma not in view.constants):
            continue
        for variance, epsilon in view.split(root.input[0], "Add"):
            scalar = epsilon in view.constants and elements(view.constants[epsilon]) == 1
            if scalar and _is_variance(view, source, variance):
                vector = onnx.numpy_helper.to_array(view.constants[gamma]) if gamma else np.ones(1, np.float32)
                return float(onnx.numpy_helper.to_array(view.constants[epsilon]).reshape(())), vector
    return None, None


def _shift(view: _View, source: str, scale: str, shift: str) -> Any:
    """Beta if `shift` is -mean * scale + beta; 0 where there is none."""
    import onnx

    for product, beta in [*view.split(shift, "Add"), (shift, "")]:
        for negated, factor in view.split(product, "Mul"):
            minus = view.op(negated, "Neg")
            if factor == scale and minus is not None and _is_mean(view, source, minus.input[0]):
                if not beta:
                    return np.zeros(1, np.float32)
                if beta in view.constants:
                    return onnx.numpy_helper.to_array(view.constants[beta])
    return None


def _is_variance(view: _View, source: str, name: str) -> bool:
    mean = view.op(name, "GlobalAveragePool", "ReduceMean")
    square = view.op(mean.input[0], "Mul") if mean is not None else None
    if square is None or square.input[0] != square.input[1] or not _is_mean(view, square.output[0], name):
        return False
    centred = view.op(square.input[0], "Sub")
    return centred is not None and centred.input[0] == source and _is_mean(view, source, centred.input[1])


def _is_mean(view: _View, source: str, name: str) -> bool:
    """Whether `name` is the mean of `source` over its last axis, kept."""
    node = view.op(name, "GlobalAveragePool", "ReduceMean")
    dims = view.shapes.dims.get(source)
    if node is None or node.input[0] != source or dims is None:
        return False
    if node.op_type == "GlobalAveragePool":
        return len(dims) == 3
    return attribute(node, "axes") in ([-1], [len(dims) - 1]) and attribute(node, "keepdims", 1) == 1


def _width(view: _View, source: str) -> int | None:
    dims = view.shapes.dims.get(source)
    last = dims[-1] if dims else None
    return last.factor if isinstance(last, Dim) and not last.symbols else None


def _vector(array: Any, width: int) -> Any:
    """(width,) if the array is constant over all axes but the last, else None."""
    if array.dtype != np.float32 or array.size not in (1, width) or (array.size > 1 and array.shape[-1] != width):
        return None
    return np.broadcast_to(array.reshape(-1), (width,)).copy()
