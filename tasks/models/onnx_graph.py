"""Small views of an ONNX graph that conversion, cleaning, techniques and proofs share."""

from collections.abc import Iterator
from typing import Any


def walk(graph: Any) -> Iterator[Any]:
    """Every node, those inside the bodies of Loop, If and Scan included."""
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from walk(body)


def computes_in_half(graph: Any) -> bool:
    """Whether values are cast to half precision on their way, or weights are kept in it."""
    import onnx

    half = onnx.TensorProto.FLOAT16
    casts = (node for node in walk(graph) if node.op_type == "Cast")
    return any(onnx.helper.get_node_attr_value(node, "to") == half for node in casts) or any(
        item.data_type == half for item in graph.initializer
    )


def bodies(node: Any) -> list[Any]:
    """The graphs that a node holds in its attributes."""
    found = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def reads(node: Any) -> list[str]:
    """Names of the tensors a node needs: its own inputs and what its bodies take from outside."""
    names = [name for name in node.input if name]
    for body in bodies(node):
        own = {item.name for item in [*body.input, *body.initializer]}
        own.update(output for inner in body.node for output in inner.output)
        wanted = [name for inner in body.node for name in reads(inner)] + [output.name for output in body.output]
        names.extend(name for name in wanted if name not in own)
    return names


def producers(graph: Any) -> dict[str, Any]:
    """Tensor name -> the node that makes it, top level only."""
    return {output: node for node in graph.node for output in node.output if output}


def initializers(graph: Any) -> dict[str, Any]:
    """Name -> TensorProto of the constants of the top level."""
    return {item.name: item for item in graph.initializer}


def elements(tensor: Any) -> int:
    """Number of elements of a TensorProto."""
    total = 1
    for size in tensor.dims:
        total *= size
    return total


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute's value, or `default`."""
    import onnx

    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default
