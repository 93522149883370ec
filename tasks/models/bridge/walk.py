"""From a Keras 3 model to its tf_keras twin: a walk of its graph, with nested models spread out.

tfmot looks for layers in the model itself, not in models inside of it; so the layers of nested models become layers
of the twin, under names such as `tower/dense`.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.models.bridge import layers, masks, operations
from tasks.models.bridge.layers import Twin
from tasks.models.bridge.refusal import Unsupported, refuse


def cross(model: Any) -> Any:
    """The twin of a model.

    Args:
        model: a built functional or Sequential keras.Model (Keras 3). It is not changed and shares nothing with the
            twin.

    Returns:
        A functional tf_keras.Model, not compiled, with the same inputs, outputs, weights, trainable flags and names.

    Raises:
        NotApplicable: it has layers without twin; the message names all of them, why, and what to do.
        StepFailed: the layers cross, but do not fit together in tf_keras.
    """
    import keras
    import tf_keras

    graph = graph_of(model)
    if graph is None:
        refuse({(type(model).__name__, model.name): _no_graph(model)}, 1)
    walk = _Walk(graph)
    inputs = [_input(tensor) for tensor in graph.inputs]
    try:
        outputs = walk.run(graph, inputs)
    except (TypeError, ValueError) as error:
        raise StepFailed(
            f"the model cannot be rebuilt in tf_keras: {type(error).__name__}: {error}. "
            "Use only ONNX-level techniques for it."
        ) from error
    structure = keras.tree.pack_sequence_as(graph._inputs_struct, inputs)
    twin = tf_keras.Model(structure, outputs, name=model.name)
    walk.copy_weights()
    return twin


def graph_of(model: Any) -> Any:
    """The graph of a functional or Sequential model; None where there is none to walk."""
    import keras

    graph = getattr(model, "_functional", None) or model
    known = type(graph) in (keras.Model, keras.Sequential) or type(graph).__module__.startswith("keras.src.models.")
    return graph if known and hasattr(graph, "_nodes_by_depth") else None


def _no_graph(model: Any) -> Unsupported:
    import keras

    if isinstance(model, keras.Sequential):
        return Unsupported("it is not built", "Begin it with keras.Input(shape)")
    return Unsupported(
        "a subclassed model has no graph that could be walked", "Build it with keras.Model(inputs, outputs)"
    )


def _input(tensor: Any) -> Any:
    import tf_keras

    shape = tuple(tensor.shape)
    return tf_keras.Input(
        shape[1:], batch_size=shape[0], name=_input_name(tensor), dtype=str(tensor.dtype), sparse=tensor.sparse
    )


def _input_name(tensor: Any) -> str:
    return _scope(tensor._keras_history.operation.name)


def _scope(name: str) -> str:
    """The name, without what TensorFlow refuses in a scope."""
    name = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return name if name[0].isalnum() or name[0] == "." else f"layer{name}"


class _Walk:
    """One crossing: the twins made so far."""

    def __init__(self, graph: Any) -> None:
        self._names: dict[int, str] = {}
        self._arguments: dict[int, Any] = {}
        self._twins: dict[int, Twin] = {}
        self._calls: dict[int, operations.Call] = {}
        self._extra: dict[str, Any] = {}
        refused: dict[tuple[str, str], Unsupported] = {}
        self._survey([(graph, "")], refused)
        refuse(refused, len(self._names))

    def _survey(self, level: list[tuple[Any, str]], refused: dict[tuple[str, str], Unsupported]) -> None:
        """Name everything and make every twin, level by level: the names of the outermost layers win."""
        while level:
            below: list[tuple[Any, str]] = []
            for graph, prefix in level:
                for node in self._needed(graph):
                    name = prefix + node.operation.name
                    try:
                        inner = self._prepare(node, name)
                    except Unsupported as error:
                        refused[type(node.operation).__name__, name] = error
                        continue
                    below += [] if inner is None else [(inner, f"{name}/")]
            level = below

    def _prepare(self, node: Any, name: str) -> Any:
        """Make the twin of one node; the graph of a nested model is returned instead."""
        import keras

        operation = node.operation
        seen = id(operation) in self._names
        if not seen:
            self._names[id(operation)] = self._unique(name)
        name = self._names[id(operation)]
        if not isinstance(operation, keras.layers.Layer):
            position = operation._inbound_nodes.index(node)
            self._calls[id(node)] = operations.call_of(node, f"{name}/{position}" if position else name)
            return None
        _, others = self._arguments_of(node)
        if graph_of(operation) is not None:
            if others:
                raise Unsupported(f"it is called with {', '.join(others)}", "Call nested models with tensors only")
            return None if seen else graph_of(operation)
        if not seen:
            self._twins[id(operation)] = layers.twin_of(operation, name)
        return None

    def _unique(self, name: str) -> str:
        taken = set(self._names.values())
        candidates = [_scope(name), *(f"{_scope(name)}_{count}" for count in range(1, len(taken) + 2))]
        return next(each for each in candidates if each not in taken)

    def _arguments_of(self, node: Any) -> tuple[Any, dict[str, Any]]:
        if id(node) not in self._arguments:
            self._arguments[id(node)] = masks.arguments(node)
        found: tuple[Any, dict[str, Any]] = self._arguments[id(node)]
        return found

    def _tensors(self, node: Any) -> list[Any]:
        import keras

        if not isinstance(node.operation, keras.layers.Layer):
            return list(node.input_tensors)
        try:
            flat = keras.tree.flatten(self._arguments_of(node))
        except Unsupported:
            return list(node.input_tensors)
        return [each for each in flat if isinstance(each, keras.KerasTensor)]

    def _needed(self, graph: Any) -> Iterator[Any]:
        """Nodes that the outputs need, in an order in which they can run; inputs and automatic masks are not."""
        ordered = [
            node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]
        ]
        inputs = {id(tensor) for tensor in graph.inputs}
        made_by = {id(tensor): node for node in ordered for tensor in node.outputs}
        open_tensors, needed = list(graph.outputs), set()
        while open_tensors:
            tensor = open_tensors.pop()
            node = made_by.get(id(tensor))
            if id(tensor) in inputs or node is None or id(node) in needed:
                continue
            needed.add(id(node))
            open_tensors += self._tensors(node)
        return (node for node in ordered if id(node) in needed)

    def run(self, graph: Any, inputs: list[Any]) -> Any:
        """Apply the twins to tensors of tf_keras, in the structure of the graph's outputs."""
        import keras

        values = dict(zip(map(id, graph.inputs), inputs, strict=True))
        for node in self._needed(graph):
            outputs = keras.tree.flatten(self._apply(node, values))
            values.update(zip(map(id, node.outputs), outputs, strict=True))
        return keras.tree.map_structure(lambda tensor: values[id(tensor)], graph._outputs_struct)

    def _apply(self, node: Any, values: dict[int, Any]) -> Any:
        import keras

        def filled(structure: Any) -> Any:
            return keras.tree.map_structure(
                lambda each: values[id(each)] if isinstance(each, keras.KerasTensor) else each, structure
            )

        if id(node) in self._calls:
            return self._operate(self._calls[id(node)], filled)
        first, others = self._arguments_of(node)
        graph = graph_of(node.operation)
        if graph is not None:
            return self.run(graph, _flat(graph, filled(first)))
        return self._call(node.operation, filled(first), filled(others))

    def _operate(self, call: operations.Call, filled: Any) -> Any:
        tensors = filled(call.tensors)
        result = call.layer(tensors if len(tensors) > 1 else tensors[0])
        return self._add("DropMask", call.layer.name, result) if masks.masked(result) else result

    def _call(self, operation: Any, first: Any, others: dict[str, Any]) -> Any:
        import keras

        twin = self._twins[id(operation)]
        first, others = self._symbolic(twin.layer.name, first, others)
        source, carry = first, False
        if masks.masked(first) and (masks.refused_by(twin.layer) or type(operation).__name__ in layers.SPLITTABLE):
            carry = masks.passes(operation)
            first = self._unmasked(twin.layer.name, first)
        result = twin.layer(first, **others)
        for layer in twin.behind:
            result = layer(result)
        if carry:
            result = self._add("CarryMask", twin.layer.name, [result, keras.tree.flatten(source)[0]])
        elif masks.ends_at(operation) and masks.masked(result):
            result = self._add("DropMask", twin.layer.name, result)
        return result

    def _symbolic(self, name: str, first: Any, others: dict[str, Any]) -> Any:
        """Give constant tensors among the arguments a layer that makes them."""
        import keras

        flat = keras.tree.flatten((first, others))
        anchor = next(each for each in flat if hasattr(each, "node"))
        for position, each in enumerate(flat):
            if hasattr(each, "shape") and not hasattr(each, "node"):
                flat[position] = self._constant(f"{name}/constant_{position}", np.asarray(each))(anchor)
        return keras.tree.pack_sequence_as((first, others), flat)

    def _constant(self, name: str, array: Any) -> Any:
        from tasks.models.bridge import registered

        if name not in self._extra:
            self._extra[name] = registered.Constant(array.tolist(), array.dtype.name, name=name)
        return self._extra[name]

    def _unmasked(self, name: str, tensors: Any) -> Any:
        import keras

        flat = [
            self._add("DropMask", f"{name}/input_{position}", tensor) if masks.masked(tensor) else tensor
            for position, tensor in enumerate(keras.tree.flatten(tensors))
        ]
        return keras.tree.pack_sequence_as(tensors, flat)

    def _add(self, kind: str, beside: str, tensors: Any) -> Any:
        """A layer that handles masks, one for each place."""
        from tasks.models.bridge import registered

        name = f"{beside}/{'unmasked' if kind == 'DropMask' else 'masked'}"
        if name not in self._extra:
            self._extra[name] = getattr(registered, kind)(name=name)
        return self._extra[name](tensors)

    def copy_weights(self) -> None:
        """Copy all weights; the twins are built by now."""
        for twin in self._twins.values():
            layers.copy(twin.weights)


def _flat(graph: Any, tensors: Any) -> list[Any]:
    """Tensors in the order of a graph's inputs; a dict may be given for a list, by the names of the inputs."""
    import keras

    if isinstance(tensors, dict) and not isinstance(graph._inputs_struct, dict):
        return [tensors[tensor.name] for tensor in graph.inputs]
    flat: list[Any] = keras.tree.flatten(tensors)
    return flat
