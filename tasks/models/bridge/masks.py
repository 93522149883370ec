"""Which masks the user gave, and where the two versions of Keras carry masks differently.

Keras 3 writes automatic masks into the arguments of a call, tf_keras works them out again; only masks that the user
passed must be passed on.
"""

import inspect
from typing import Any

from tasks.models.bridge.refusal import Unsupported


def arguments(node: Any) -> tuple[Any, dict[str, Any]]:
    """How a layer was called: its first argument, and the others by name, without automatic masks.

    `training` is left out as well: Keras 3 itself overrules it by what its model is called with.

    Raises:
        Unsupported: the call has arguments that cannot be told apart.
    """
    layer = node.operation
    given = inspect.signature(layer.call).bind(*node.arguments.args, **node.arguments.kwargs).arguments
    if not given or "args" in given:
        raise Unsupported("it is called with arguments that have no names", "Pass the tensors by name")
    given = {**given, **given.pop("kwargs", {})}
    (_, first), *others = given.items()
    kept = {name: value for name, value in others if value is not None and name != "training"}
    sources = {"mask": first} | {f"{name}_mask": value for name, value in given.items()}
    return first, {name: value for name, value in kept.items() if not _automatic(value, sources.get(name))}


def _automatic(value: Any, source: Any) -> bool:
    import keras

    if source is None:
        return False
    expected = keras.tree.flatten(keras.tree.map_structure(_mask, source))
    found = keras.tree.flatten(value)
    return len(found) == len(expected) and all(map(_same, found, expected))


def _mask(tensor: Any) -> Any:
    return getattr(tensor, "_keras_mask", None)


def _same(one: Any, other: Any) -> bool:
    """The same tensor, or computed alike: a model that was read from a file computes each mask twice."""
    import keras

    if one is other:
        return True
    if not (isinstance(one, keras.KerasTensor) and isinstance(other, keras.KerasTensor)):
        return type(one) is type(other) and not hasattr(one, "shape") and bool(one == other)
    first, second = one._keras_history, other._keras_history
    if type(first.operation) is not type(second.operation) or isinstance(first.operation, keras.layers.Layer):
        return False
    nodes = [each.operation._inbound_nodes[each.node_index] for each in (first, second)]
    flat = [keras.tree.flatten((node.arguments.args, node.arguments.kwargs)) for node in nodes]
    return len(flat[0]) == len(flat[1]) and all(map(_same, *flat))


def masked(tensors: Any) -> bool:
    """Whether any tensor of tf_keras carries a mask."""
    import keras

    return any(_mask(tensor) is not None for tensor in keras.tree.flatten(tensors))


def ends_at(layer: Any) -> bool:
    """Whether a layer of Keras 3 destroys masks for want of support."""
    return bool(_plain(layer) and not layer.supports_masking)


def passes(layer: Any) -> bool:
    """Whether a layer of Keras 3 gives its output the mask of its input."""
    return bool(_plain(layer) and layer.supports_masking)


def refused_by(twin: Any) -> bool:
    """Whether a layer of tf_keras stops with an error at a mask."""
    import tf_keras

    own = type(twin).compute_mask is not tf_keras.layers.Layer.compute_mask
    return not own and not twin.supports_masking


def _plain(layer: Any) -> bool:
    return bool(getattr(layer.compute_mask, "_is_default", False))
