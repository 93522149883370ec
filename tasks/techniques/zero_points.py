"""Equal zero points, written once.

Weights and biases are symmetric: their zero points are zeros, one a layer and channel. In a net of many channels,
MobileNet say, they are three percent of the file.
"""

from typing import Any

from tasks.models.onnx_graph import initializers, reads

_PLACE = 2  # of the zero point among the inputs of a quantizer


def share(graph: Any) -> None:
    """Let all quantizers of the top level whose zero points are equal read one constant, in place."""
    constants, first = initializers(graph), dict[bytes, str]()
    dropped = set()
    for node in graph.node:
        if node.op_type in ("DequantizeLinear", "QuantizeLinear") and len(node.input) > _PLACE:
            name = node.input[_PLACE]
            if name in constants:
                node.input[_PLACE] = first.setdefault(_content(constants[name]), name)
                dropped.add(name)
    dropped -= {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name in dropped:
            del graph.initializer[index]


def _content(item: Any) -> bytes:
    """Type, shape and values of a TensorProto, without its name."""
    nameless = type(item)()
    nameless.CopyFrom(item)
    nameless.ClearField("name")
    content: bytes = nameless.SerializeToString(deterministic=True)
    return content
