"""The normal form of a graph: the same SavedModel always gives the same bytes, with the signature's names.

tf2onnx numbers names with a counter of the process and orders nodes by them. Here nodes are ordered by a walk from the
outputs, names lose their counters and are made unique in that order, and what nothing needs is dropped.
"""

import re
from collections.abc import Iterable
from typing import Any

from tasks.models.onnx_graph import bodies, initializers, producers, reads, walk
from tasks.models.signature import Signature

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Counters of tf2onnx, `id()`s in the names of its einsum rewriter, and the wrappers a SavedModel's signature adds.
_NOISE = (
    (re.compile(r"__\d+"), ""),
    (re.compile(r"einsum\d+"), "einsum"),
    (re.compile(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+"), ""),
)


def normalize(model: Any, signature: Signature) -> None:
    """Bring a converted graph into its normal form, in place."""
    graph = model.graph
    _own_node_per_output(graph)
    order(graph)
    names = _Names([*signature.inputs, *signature.outputs])
    for values, wanted in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        for value, name in zip(values, wanted, strict=True):
            names.fix(value.name, name)
    _rename(graph, names)
    _drop_unused_domains(model)


class _Names:
    """Old tensor name -> new one, each new name given once."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._tensors: dict[str, str] = {"": ""}
        self._taken = set(reserved)
        self._nodes: set[str] = set()

    def fix(self, old: str, new: str) -> None:
        self._tensors[old] = new

    def tensor(self, old: str, wish: str | None = None) -> str:
        if old not in self._tensors:
            self._tensors[old] = _unique(_clean(old) if wish is None else wish, self._taken)
        return self._tensors[old]

    def node(self, old: str, op_type: str) -> str:
        return _unique(_clean(old) or op_type, self._nodes)


def _clean(name: str) -> str:
    for pattern, replacement in _NOISE:
        name = pattern.sub(replacement, name)
    return name.removesuffix(":0")


def _unique(wish: str, taken: set[str]) -> str:
    name, number = wish, 0
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    taken.add(name)
    return name


def _own_node_per_output(graph: Any) -> None:
    """An output that is an input, a constant or another output as well gets an Identity of its own."""
    import onnx

    made, seen = producers(graph), set()
    for index, value in enumerate(graph.output):
        if value.name not in made or value.name in seen:
            name = f"output_copy:{index}"
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [name], name=name))
            value.name = name
        seen.add(value.name)


def order(graph: Any) -> None:
    """Nodes in the order of a depth-first walk from the outputs, constants by first use; the rest is dropped."""
    made, constants = producers(graph), initializers(graph)
    ordered: list[Any] = []
    used: dict[str, None] = {}
    done: set[int] = set()
    stack: list[tuple[str, Any, bool]] = [(value.name, made.get(value.name), False) for value in reversed(graph.output)]
    while stack:
        name, node, entered = stack.pop()
        if node is None:
            used.setdefault(name)
        elif entered:
            ordered.append(node)
        elif id(node) not in done:
            done.add(id(node))
            stack.append((name, node, True))
            stack.extend((wanted, made.get(wanted), False) for wanted in reversed(reads(node)))
    kept = [constants[name] for name in used if name in constants]
    nodes = [_copy(node) for node in ordered]
    tensors = [_copy(item) for item in kept]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


def _copy(message: Any) -> Any:
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def _rename(graph: Any, names: _Names) -> None:
    for value in graph.input:
        value.name = names.tensor(value.name)
    constants = {item.name for item in graph.initializer}
    del graph.value_info[:]
    for node in graph.node:
        node.name = names.node(node.name or node.output[0], node.op_type)
        for index, old in enumerate(node.input):
            node.input[index] = names.tensor(old, _constant_name(node, index) if old in constants else None)
        for index, old in enumerate(node.output):
            node.output[index] = names.tensor(old, node.name if index == 0 else f"{node.name}:{index}")
        for body in bodies(node):
            _rename(body, names)
    for value in (*graph.output, *graph.initializer):
        value.name = names.tensor(value.name)


def _constant_name(node: Any, index: int) -> str:
    """After its first user: of equal constants tf2onnx keeps one under a name that changes from run to run."""
    if node.op_type in _LAYERS and index in (1, 2):
        return f"{node.name}/{'weights' if index == 1 else 'bias'}"
    return f"{node.name}/constant" if index == 1 else f"{node.name}/constant_{index}"


def _drop_unused_domains(model: Any) -> None:
    used = {node.domain for node in walk(model.graph)} | {""}
    kept = [_copy(opset) for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
