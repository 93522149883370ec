"""The constants that each operator works on, in the graph and in every body of a Loop, If or Scan.

tf2onnx hands the weights of a GRU to a Loop's body through the Loop's inputs, others are read from the graph outside.
Whoever looks at the top level alone takes such a model for one almost without weights.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from tasks.models.onnx_graph import attribute, bodies

# Operators that hand their first input on, whatever the others say of scale or shape.
_PASS = frozenset({"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose"})


class Constant(NamedTuple):
    """One constant.

    Attributes:
        graph: number of the graph that holds it, in the order of a walk; 0 is the outermost.
        name: its name there.
        kind: element type, a `TensorProto.DataType`.
        dims: shape.
    """

    graph: int
    name: str
    kind: int
    dims: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.dims)


Found = frozenset[Constant]
_Known = dict[str, Found]
_NONE: Found = frozenset()


class Use(NamedTuple):
    """One node and what it works on.

    Attributes:
        node: NodeProto.
        inside: operator and name of the node whose body it is in, '' at the top level.
        constants: those behind its inputs; none for inputs that an activation has a part in.
    """

    node: Any
    inside: str
    constants: Found


def uses(graph: Any) -> list[Use]:
    """Every node, those in bodies included, with its constants."""
    walk = _Walk()
    walk.visit(graph, {}, "")
    return walk.uses


def tensors(graph: Any) -> Iterator[Any]:
    """Every constant as TensorProto, those in bodies and of Constant nodes included."""
    yield from graph.initializer
    for node in graph.node:
        tensor = attribute(node, "value") if node.op_type == "Constant" else None
        if tensor is not None:
            named = type(tensor)()
            named.CopyFrom(tensor)
            named.name = node.output[0]
            yield named
        for body in bodies(node):
            yield from tensors(body)


def unchanged(node: Any, body: Any, index: int) -> bool:
    """Whether a turn of a Loop or Scan hands carried input `index` on as it is.

    A Loop's first two are its count and its condition, and change.
    """
    if node.op_type == "Loop" and index < 2:
        return False
    made = {inner.output[0]: inner for inner in body.node if inner.op_type == "Identity"}
    name = body.output[index - 1 if node.op_type == "Loop" else index].name
    while name in made:
        name = made[name].input[0]
    return bool(name == body.input[index].name)


class _Walk:
    """Follows constants forwards, in the order of the nodes, from graph into body and out again."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self._graphs = 0

    def visit(self, graph: Any, outside: _Known, inside: str) -> _Known:
        number = self._graphs
        self._graphs += 1
        own = {item.name: _as_found(number, item.name, item) for item in graph.initializer}
        known = outside | own
        for node in graph.node:
            read = (known.get(name, _NONE) for name in node.input if name)
            self.uses.append(Use(node, inside, _NONE.union(*read)))
            if node.op_type == "Constant":
                known[node.output[0]] = _as_found(number, node.output[0], attribute(node, "value"))
            elif bodies(node):
                known.update(self._through_bodies(node, known))
            else:
                known.update(dict.fromkeys(node.output, _result(node, known)))
        return known

    def _through_bodies(self, node: Any, known: _Known) -> _Known:
        made: _Known = {}
        # The first output of a Loop's body is its condition.
        skip = 1 if node.op_type == "Loop" else 0
        for body in bodies(node):
            end = self.visit(body, known | _entering(node, body, known), f"{node.op_type} {node.name!r}")
            for name, value in zip(node.output, body.output[skip:], strict=False):
                # Of an If both branches count.
                made[name] = made.get(name, _NONE) | end.get(value.name, _NONE)
        return made


def _entering(node: Any, body: Any, known: _Known) -> _Known:
    """What a body's inputs stand for: input i of a Loop or Scan for input i of its body."""
    entering: _Known = dict.fromkeys((value.name for value in body.input), _NONE)
    if node.op_type not in ("Loop", "Scan"):
        return entering
    carried = len(node.input) - attribute(node, "num_scan_inputs", 0)
    for index, (name, value) in enumerate(zip(node.input, body.input, strict=False)):
        # What a turn of the loop changes is a state that starts from a constant, not a weight.
        if index >= carried or unchanged(node, body, index):
            entering[value.name] = known.get(name, _NONE)
    return entering


def _result(node: Any, known: _Known) -> Found:
    """The constants that a node's outputs are made of, if they are made of constants only."""
    read = [known.get(name, _NONE) for name in node.input if name]
    if node.op_type in _PASS:
        read = read[:1]
    return _NONE.union(*read) if all(read) else _NONE


def _as_found(graph: int, name: str, tensor: Any) -> Found:
    # A Constant node without a tensor holds a number or a list.
    kind, dims = (0, ()) if tensor is None else (tensor.data_type, tuple(tensor.dims))
    return frozenset({Constant(graph, name, kind, dims)})
