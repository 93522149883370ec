"""From one operation of Keras 3 (`x + y`, `keras.ops.relu`) to a layer of tf_keras.

Where a plain layer says the same it is taken, because tfmot knows plain layers; any other operation becomes a
`KerasOperation`.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tasks.models.bridge import encoding
from tasks.models.bridge.refusal import Unsupported

MERGES = {"Add": "Add", "Subtract": "Subtract", "Multiply": "Multiply", "Maximum": "Maximum", "Minimum": "Minimum"}
FUNCTIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu", "Selu": "selu",
    "Softplus": "softplus", "Softsign": "softsign", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A layer of tf_keras in the place of an operation.

    Attributes:
        layer: not built yet.
        tensors: KerasTensors of Keras 3, in the order in which the layer takes them.
    """

    layer: Any
    tensors: list[Any]


def call_of(node: Any, name: str) -> Call:
    """What takes the place of a node of the graph of Keras 3 whose operation is not a layer.

    Raises:
        Unsupported: the operation is not one of Keras' own, or its arguments cannot be written down.
    """
    for make in (_scale, _merge, _function, _shape):
        found = make(node, name)
        if found is not None:
            return found
    return _generic(node, name)


def _generic(node: Any, name: str) -> Call:
    from tasks.models.bridge import registered

    tensors: list[Any] = []
    arguments = encoding.encode((node.arguments.args, node.arguments.kwargs), tensors)
    if not tensors:
        raise Unsupported("it is called without tensors", "Give it an input")
    return Call(registered.KerasOperation(encoding.encode_operation(node.operation), arguments, name=name), tensors)


def _kind(node: Any) -> str:
    cls = type(node.operation)
    return cls.__name__ if cls.__module__.startswith("keras.src.ops.") else ""


def _operands(node: Any) -> list[Any]:
    return [*node.arguments.args, *node.arguments.kwargs.values()]


def _settings(node: Any) -> dict[str, Any]:
    return {"dtype": str(node.outputs[0].dtype)}


def _floating(node: Any) -> bool:
    """Whether all tensors of the node have one dtype of floats: layers cast others, operations promote them."""
    dtypes = {str(tensor.dtype) for tensor in [*node.input_tensors, *node.outputs]}
    return len(dtypes) == 1 and "float" in next(iter(dtypes))


def _scale(node: Any, name: str) -> Call | None:
    """Arithmetic with a number: `scale * x + offset`."""
    import tf_keras

    operands = _operands(node)
    if _kind(node) == "Negative" and _floating(node):
        return Call(tf_keras.layers.Rescaling(-1.0, name=name, **_settings(node)), node.input_tensors)
    if len(operands) != 2 or len(node.input_tensors) != 1 or not _floating(node):
        return None
    number = next(operand for operand in operands if operand is not node.input_tensors[0])
    if not isinstance(number, Real) and not (hasattr(number, "shape") and np.shape(number) == ()):
        return None
    scale_offset = _affine(_kind(node), operands[0] is number, float(number))
    if scale_offset is None:
        return None
    scale, offset = scale_offset
    return Call(tf_keras.layers.Rescaling(scale, offset, name=name, **_settings(node)), node.input_tensors)


def _affine(kind: str, number_first: bool, number: float) -> tuple[float, float] | None:
    forms = {
        "Add": (1.0, number),
        "Subtract": (-1.0, number) if number_first else (1.0, -number),
        "Multiply": (number, 0.0),
    }
    if kind in ("Divide", "TrueDivide") and not number_first and number != 0:
        return 1.0 / number, 0.0
    return forms.get(kind)


def _merge(node: Any, name: str) -> Call | None:
    """Two tensors of one rank; layers line other ranks up from the left, operations from the right."""
    import tf_keras

    operands = _operands(node)
    if not _floating(node):
        return None
    if _kind(node) == "Concatenate" and isinstance(operands[0], list | tuple):
        layer = tf_keras.layers.Concatenate(axis=node.operation.axis, name=name, **_settings(node))
        return Call(layer, list(operands[0])) if len(operands[0]) > 1 and node.operation.axis else None
    if _kind(node) not in MERGES or len(node.input_tensors) != 2 or len(operands) != 2:
        return None
    if len({len(tensor.shape) for tensor in node.input_tensors}) != 1 or len(node.outputs[0].shape) < 2:
        return None
    layer = getattr(tf_keras.layers, MERGES[_kind(node)])(name=name, **_settings(node))
    return Call(layer, operands)


def _function(node: Any, name: str) -> Call | None:
    import tf_keras

    from tasks.models.bridge import activations, registered

    function = FUNCTIONS.get(_kind(node))
    if function is None or len(_operands(node)) != 1 or not _floating(node):
        return None
    chosen = function if function in activations.SAME else registered.FUNCTIONS[function]
    return Call(tf_keras.layers.Activation(chosen, name=name, **_settings(node)), node.input_tensors)


def _shape(node: Any, name: str) -> Call | None:
    """Reshape and Transpose that leave the batch alone."""
    import tf_keras

    operation, kind = node.operation, _kind(node)
    if len(_operands(node)) != 1 or not _floating(node):
        return None
    before, after = node.input_tensors[0].shape, node.outputs[0].shape
    if kind == "Transpose" and operation.axes is not None and operation.axes[0] == 0:
        return Call(tf_keras.layers.Permute(operation.axes[1:], name=name, **_settings(node)), node.input_tensors)
    known = None not in before[1:] and None not in after[1:]
    if kind == "Reshape" and known and np.prod(before[1:]) == np.prod(after[1:]):
        return Call(tf_keras.layers.Reshape(after[1:], name=name, **_settings(node)), node.input_tensors)
    return None
