"""What tf2onnx leaves in a graph and a runtime pays for at every call.

Keras 3 computes the shape it flattens to at run time (Shape, Gather, Slice, Concat, Cast: 15 % of a small model), and
attention's einsum does the same several times a layer. Wherever such a chain is constant but for the batch, one
Reshape with a constant shape takes its place. Chains of reshapes become one, and the zero state of a recurrent layer
is left to its default.
"""

from typing import Any

import numpy as np

from tasks.models.onnx_fuse import fuse_layer_normalization
from tasks.models.onnx_graph import producers, walk
from tasks.models.onnx_shapes import Dim, Shape, Shapes

_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


def clean(model: Any) -> None:
    """Simplify a topologically ordered graph in place; nodes that become unused stay for the normal form to drop."""
    shapes = Shapes(model)
    _drop_zero_states(model.graph)
    _fold_integers(model.graph, shapes)
    _constant_reshapes(model.graph, shapes)
    _join_views(model.graph, shapes)
    fuse_layer_normalization(model.graph, shapes)


def target(source: Shape, wanted: Shape) -> list[int] | None:
    """The constant that reshapes `source` to `wanted`: 0 copies a dimension in place, -1 stands for one other.

    Returns:
        None if no constant does.
    """
    if any(dim is None or dim == Dim(0) for dim in wanted):
        return None
    sizes = [dim.factor if dim is not None and not dim.symbols else -1 for dim in wanted]
    if sizes.count(-1) > 1:
        sizes = [
            0 if size == -1 and index < len(source) and source[index] == wanted[index] else size
            for index, size in enumerate(sizes)
        ]
    return sizes if sizes.count(-1) <= 1 else None


def _drop_zero_states(graph: Any) -> None:
    """LSTM, GRU and RNN start from zeros by themselves; making the zeros costs a chain of shape operators."""
    made = producers(graph)
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type in ("LSTM", "GRU", "RNN"):
            for index in range(5, min(7, len(node.input))):
                if _is_zero(node.input[index], made, constants):
                    node.input[index] = ""
            while node.input and not node.input[-1]:
                node.input.pop()


def _is_zero(name: str, made: dict[str, Any], constants: dict[str, Any]) -> bool:
    import onnx

    while (node := made.get(name)) is not None and node.op_type in {"Expand", "Tile", *_VIEWS}:
        name = node.input[0]
    if node is not None and node.op_type == "ConstantOfShape":
        value = [onnx.numpy_helper.to_array(item.t) for item in node.attribute]
        return all(not array.any() for array in value)
    return name in constants and not onnx.numpy_helper.to_array(constants[name]).any()


def _fold_integers(graph: Any, shapes: Shapes) -> None:
    """Integer tensors that turn out constant become constants."""
    known = {item.name for item in graph.initializer}
    outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        if len(node.output) != 1 or node.output[0] in known | outputs or not node.input:
            continue
        tensor = shapes.constant(node.output[0])
        if tensor is not None:
            graph.initializer.append(tensor)
            graph.node.remove(node)


def _constant_reshapes(graph: Any, shapes: Shapes) -> None:
    constants = {item.name for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constants:
            source, wanted = shapes.dims.get(node.input[0]), shapes.dims.get(node.output[0])
            if wanted is not None:
                _set_shape(graph, node, target(source or [], wanted))


def _set_shape(graph: Any, node: Any, sizes: list[int] | None) -> None:
    import onnx

    if sizes is None:
        return
    name = f"{node.name}/shape"
    if name not in {item.name for item in graph.initializer}:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, dtype=np.int64), name))
    source, output = node.input[0], node.output[0]
    node.CopyFrom(onnx.helper.make_node("Reshape", [source, name], [output], name=node.name))


def _join_views(graph: Any, shapes: Shapes) -> None:
    """A reshape of a reshape is one reshape, and one that changes nothing is none."""
    made = producers(graph)
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        if node.op_type not in _VIEWS:
            continue
        source = node.input[0]
        while (before := made.get(source)) is not None and before.op_type in _VIEWS:
            source = before.input[0]
        start, wanted = shapes.dims.get(source), shapes.dims.get(node.output[0])
        if start is None or wanted is None:
            continue
        if start == wanted and None not in start and node.output[0] not in outputs:
            _replace(graph, node.output[0], source)
        elif source != node.input[0] and (sizes := target(start, wanted)) is not None:
            node.input[0] = source
            _set_shape(graph, node, sizes)


def _replace(graph: Any, old: str, new: str) -> None:
    for node in walk(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
