"""Shapes of a graph with the free dimensions as symbols, and the values of the integer tensors made from them.

ONNX's own data propagation gives up on the casts, products and maxima that Keras 3 leaves between a Shape and a
Reshape. Here a dimension is a product of an integer and symbols (`12`, `batch`, `2*batch`), which is enough to see
that such a chain is constant but for one dimension.
"""

import contextlib
from typing import Any, NamedTuple

import numpy as np

from tasks.models.onnx_graph import attribute, bodies, elements, initializers

# Larger constants are weights; shape inference never looks into them.
SMALL = 64


class Dim(NamedTuple):
    """A product of an integer and symbols, sorted; `Dim(12)` is plain 12."""

    factor: int
    symbols: tuple[str, ...] = ()

    def times(self, other: "Dim") -> "Dim":
        """The product of two dimensions."""
        return Dim(self.factor * other.factor, tuple(sorted(self.symbols + other.symbols)))

    @property
    def text(self) -> str:
        """How it is written into a graph, `2*batch`."""
        parts = ([str(self.factor)] if self.factor != 1 else []) + list(self.symbols)
        return "*".join(parts) or "1"


Shape = list[Dim | None]


class Shapes:
    """One sweep over a topologically ordered graph.

    Attributes:
        dims: tensor -> one entry a dimension, None where nothing is known. Tensors of unknown rank are missing.
        values: integer tensor -> its elements, flat, where all are known.
        ranks: rank (0 or 1) of every tensor in `values`.
    """

    def __init__(self, model: Any) -> None:
        self.dims: dict[str, Shape] = {}
        self.values: dict[str, list[Dim]] = {}
        self.ranks: dict[str, int] = {}
        self._types: dict[str, Any] = {}
        self._texts: dict[str, Dim] = {}
        self._constants = initializers(model.graph)
        self._opset = list(model.opset_import)
        for value in model.graph.input:
            self._learn(value.name, value.type)
        for name, tensor in self._constants.items():
            self._learn_constant(name, tensor)
        for node in model.graph.node:
            self._visit(node)

    def _learn(self, name: str, kind: Any) -> None:
        self._types[name] = kind
        if kind.HasField("tensor_type") and kind.tensor_type.HasField("shape"):
            self.dims[name] = [self._parse(dim) for dim in kind.tensor_type.shape.dim]

    def _parse(self, dim: Any) -> Dim | None:
        if dim.HasField("dim_value"):
            return Dim(dim.dim_value)
        if not dim.dim_param:
            return None
        return self._texts.setdefault(dim.dim_param, Dim(1, (dim.dim_param,)))

    def _learn_constant(self, name: str, tensor: Any) -> None:
        import onnx

        self._learn(name, onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims)))
        if elements(tensor) <= SMALL and len(tensor.dims) <= 1:
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype.kind in "iu":
                self._set(name, [Dim(int(value)) for value in array.reshape(-1)], array.ndim)

    def _set(self, name: str, value: list[Dim], rank: int) -> None:
        self.values[name] = value
        self.ranks[name] = rank

    def _visit(self, node: Any) -> None:
        if not bodies(node):
            self._infer(node)
        rule = _RULES.get(node.op_type)
        if rule is not None and node.domain == "":
            rule(self, node)

    def _infer(self, node: Any) -> None:
        import onnx

        types = {name: self._types[name] for name in node.input if name in self._types}
        data = {name: tensor for name in node.input if (tensor := self._as_tensor(name)) is not None}
        with contextlib.suppress(onnx.shape_inference.InferenceError, onnx.defs.SchemaError, RuntimeError, KeyError):
            schema = onnx.defs.get_schema(node.op_type, self._opset[0].version, node.domain)
            found = onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self._opset)
            for name, kind in found.items():
                self._learn(name, kind)

    def _as_tensor(self, name: str) -> Any:
        import onnx

        if name in self._constants and elements(self._constants[name]) <= SMALL:
            return self._constants[name]
        value = self.values.get(name)
        if value is None or any(dim.symbols for dim in value):
            return None
        array = np.array([dim.factor for dim in value], dtype=self._dtype(name))
        return onnx.numpy_helper.from_array(array.reshape(() if self.ranks[name] == 0 else -1), name)

    def _dtype(self, name: str) -> Any:
        import onnx

        return onnx.helper.tensor_dtype_to_np_dtype(self._types[name].tensor_type.elem_type)

    def constant(self, name: str) -> Any:
        """The TensorProto of a tensor whose elements are all plain integers, else None."""
        return self._as_tensor(name) if name in self._types else None

    def reshaped(self, name: str, shape: Shape) -> None:
        """State the shape of a tensor that inference could not see."""
        import onnx

        kind = self._types.get(name)
        if kind is None:
            return
        for dim in shape:
            if dim is not None:
                self._texts[dim.text] = dim
        sizes = [None if dim is None else dim.text if dim.symbols else dim.factor for dim in shape]
        self._learn(name, onnx.helper.make_tensor_type_proto(kind.tensor_type.elem_type, sizes))


def _shape(shapes: Shapes, node: Any) -> None:
    dims = shapes.dims.get(node.input[0])
    if dims is None:
        return
    start, end = attribute(node, "start", 0), attribute(node, "end")
    known = [dim for dim in dims[start:end] if dim is not None]
    if len(known) == len(dims[start:end]):
        shapes._set(node.output[0], known, 1)


def _same(shapes: Shapes, node: Any) -> None:
    """Cast, Identity: the value itself."""
    value = shapes.values.get(node.input[0])
    if value is not None and (node.op_type != "Cast" or attribute(node, "to") in (6, 7)):
        shapes._set(node.output[0], value, shapes.ranks[node.input[0]])


def _gather(shapes: Shapes, node: Any) -> None:
    value, index = shapes.values.get(node.input[0]), shapes.values.get(node.input[1])
    if value is None or index is None or attribute(node, "axis", 0) != 0 or any(dim.symbols for dim in index):
        return
    if all(-len(value) <= dim.factor < len(value) for dim in index):
        shapes._set(node.output[0], [value[dim.factor] for dim in index], shapes.ranks[node.input[1]])


def _slice(shapes: Shapes, node: Any) -> None:
    parts = [shapes.values.get(name) for name in node.input]
    if len(parts) < 3 or parts[0] is None or shapes.ranks[node.input[0]] != 1:
        return
    numbers = [part[0].factor if part and len(part) == 1 and not part[0].symbols else None for part in parts[1:]]
    if any(number is None for number in numbers):
        return
    step = numbers[3] if len(numbers) == 4 else 1
    shapes._set(node.output[0], parts[0][slice(numbers[0], numbers[1], step)], 1)


def _concat(shapes: Shapes, node: Any) -> None:
    parts = [shapes.values.get(name) for name in node.input]
    if all(part is not None for part in parts):
        shapes._set(node.output[0], [dim for part in parts if part is not None for dim in part], 1)


def _to_rank(shapes: Shapes, node: Any) -> None:
    """Squeeze and Unsqueeze between a scalar and a vector of one element."""
    value = shapes.values.get(node.input[0])
    if value is not None and len(value) == 1:
        rank = 1 if node.op_type == "Unsqueeze" else 0
        if rank != shapes.ranks[node.input[0]]:
            shapes._set(node.output[0], value, rank)


def _product(shapes: Shapes, node: Any) -> None:
    value = shapes.values.get(node.input[0])
    if value is None or shapes.ranks[node.input[0]] != 1:
        return
    total = Dim(1)
    for dim in value:
        total = total.times(dim)
    shapes._set(node.output[0], [total], int(attribute(node, "keepdims", 1)))


def _mul(shapes: Shapes, node: Any) -> None:
    left, right = (shapes.values.get(name) for name in node.input)
    if left is None or right is None or len(left) != len(right):
        return
    rank = max(shapes.ranks[name] for name in node.input)
    shapes._set(node.output[0], [a.times(b) for a, b in zip(left, right, strict=True)], rank)


def _max(shapes: Shapes, node: Any) -> None:
    """The maximum of equal values, or of plain integers."""
    parts = [shapes.values.get(name) for name in node.input]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({len(part) for part in known}) != 1:
        return
    columns = [set(column) for column in zip(*known, strict=True)]
    if all(len(column) == 1 or not any(dim.symbols for dim in column) for column in columns):
        shapes._set(node.output[0], [max(column) for column in columns], max(shapes.ranks[name] for name in node.input))


def _reshape(shapes: Shapes, node: Any) -> None:
    target, source = shapes.values.get(node.input[1]), shapes.dims.get(node.input[0])
    if target is None or attribute(node, "allowzero", 0):
        return
    shape: Shape = [
        source[index] if dim == Dim(0) and source is not None and index < len(source) else dim
        for index, dim in enumerate(target)
    ]
    if Dim(-1) in shape:
        missing = _quotient(source, [dim for dim in shape if dim != Dim(-1)])
        shape = [missing if dim == Dim(-1) else dim for dim in shape]
    shapes.reshaped(node.output[0], shape)
    _keep_value(shapes, node)


def _keep_value(shapes: Shapes, node: Any) -> None:
    value, shape = shapes.values.get(node.input[0]), shapes.dims.get(node.output[0])
    if value is not None and shape is not None and len(shape) <= 1:
        shapes._set(node.output[0], value, len(shape))


def _quotient(whole: Shape | None, parts: Shape) -> Dim | None:
    """The dimension that makes the products equal, if that is a plain product itself."""
    if whole is None or None in whole or None in parts:
        return None
    total, known = Dim(1), Dim(1)
    for dim in whole:
        total = total.times(dim) if dim is not None else total
    for dim in parts:
        known = known.times(dim) if dim is not None else known
    left = list(total.symbols)
    for symbol in known.symbols:
        if symbol not in left:
            return None
        left.remove(symbol)
    if known.factor == 0 or total.factor % known.factor:
        return None
    return Dim(total.factor // known.factor, tuple(left))


_RULES = {
    "Shape": _shape,
    "Cast": _same,
    "Identity": _same,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Squeeze": _to_rank,
    "Unsqueeze": _to_rank,
    "ReduceProd": _product,
    "Mul": _mul,
    "Max": _max,
    "Reshape": _reshape,
}
