"""Loops whose weights a quantizer can see.

tf2onnx hands the weights of a GRU to the body of its Loop as inputs that every turn hands on. ONNX Runtime's quantizer
takes only initializers for weights; read from the graph around the Loop, they are.
"""

from typing import Any

from tasks.models.onnx_graph import bodies, initializers, reads, walk
from tasks.techniques.constants import unchanged


def read_from_outside(graph: Any) -> None:
    """Let the bodies of Loops read constants from outside that they carry along unchanged, in place."""
    constants = initializers(graph)
    wanted = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    for node in graph.node:
        if node.op_type == "Loop":
            body = bodies(node)[0]
            # From the last on, because each one that goes moves those behind it. The first two are count and condition.
            for index in reversed(range(2, len(node.input))):
                if node.input[index] in constants and node.output[index - 2] not in wanted:
                    _no_longer_carry(node, body, index)


def inner_names(graph: Any, names: list[str]) -> list[str]:
    """Names of the nodes in the bodies of the nodes with these names."""
    chosen = [body for node in graph.node if node.name in names for body in bodies(node)]
    return [inner.name for body in chosen for inner in walk(body)]


def _no_longer_carry(node: Any, body: Any, index: int) -> None:
    inside, outside = body.input[index].name, node.input[index]
    others = [value.name for position, value in enumerate(body.output) if position != index - 1]
    # A body cannot give out what it does not make, so the value may be read in it only.
    if inside in others or not unchanged(node, body, index):
        return
    for inner in walk(body):
        for position, name in enumerate(inner.input):
            if name == inside:
                inner.input[position] = outside
    del node.input[index], node.output[index - 2], body.input[index], body.output[index - 1]
