"""Operations of Keras 3 and their arguments as text, because a layer's configuration holds nothing but JSON.

tf_keras would take nested dicts with a `class_name` for layers of its own, hence text. Reading it back makes nothing
but operations and weightless layers of Keras itself.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError
from tasks.models.bridge.refusal import Unsupported

HOMES = ("keras.src.ops.", "keras.src.layers.pooling.", "keras.src.layers.preprocessing.")


def encode_operation(operation: Any) -> str:
    """The class and settings of an operation of Keras 3.

    Raises:
        Unsupported: not one of Keras' own, or its settings are not plain values.
    """
    kind = type(operation)
    if not kind.__module__.startswith(HOMES):
        raise Unsupported("this operation is not one of Keras'", "Use operations of keras.ops")
    try:
        config = {key: value for key, value in operation.get_config().items() if key != "name"}
    except NotImplementedError as error:
        raise Unsupported(
            "Keras cannot write down its settings", "Call the function of keras.ops with plain values"
        ) from error
    if isinstance(config.get("dtype"), dict):  # of a layer
        config["dtype"] = operation.dtype_policy.name
    return json.dumps({"module": kind.__module__, "class": kind.__name__, "config": _tag(config, [])})


def decode_operation(text: str) -> Any:
    """The operation, made anew.

    Raises:
        InputError: the text names something that is not an operation of Keras.
    """
    import keras

    content = json.loads(text)
    module, name = content["module"], content["class"]
    kind: Any = getattr(importlib.import_module(module), name, None) if module.startswith(HOMES) else None
    if not inspect.isclass(kind) or keras.Operation not in kind.__mro__:
        raise InputError(f"{module}.{name} is not an operation of Keras; the file was not written by Slipway.")
    operation: Any = kind
    return operation.from_config(_untag(content["config"], []))


def encode(arguments: Any, tensors: list[Any]) -> str:
    """Arguments as text.

    Args:
        arguments: (args, kwargs) of a call, with KerasTensors in any nesting.
        tensors: takes each KerasTensor once, in the order of their numbers in the text.

    Raises:
        Unsupported: a value is neither a tensor nor plain.
    """
    return json.dumps(_tag(arguments, tensors))


def decode(text: str, tensors: Sequence[Any]) -> Any:
    """The arguments, with these tensors in the place of the KerasTensors."""
    return _untag(json.loads(text), tensors)


def _tag(value: Any, tensors: list[Any]) -> Any:
    import keras

    if isinstance(value, keras.KerasTensor):
        return {"tensor": _position(value, tensors)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        tagged = [_tag(each, tensors) for each in value]
        return tagged if isinstance(value, list) else {"tuple": tagged}
    if isinstance(value, dict):
        return {"dict": {key: _tag(each, tensors) for key, each in value.items()}}
    if isinstance(value, slice):
        return {"slice": [_tag(each, tensors) for each in (value.start, value.stop, value.step)]}
    return _constant(value)


def _position(tensor: Any, tensors: list[Any]) -> int:
    for position, each in enumerate(tensors):
        if each is tensor:
            return position
    tensors.append(tensor)
    return len(tensors) - 1


def _constant(value: Any) -> Any:
    import keras

    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, keras.Variable):
        raise Unsupported("it reads a variable that belongs to no layer", "Keep weights inside of layers")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise Unsupported(
            f"an argument is a {type(value).__name__}", "Pass tensors, numbers, strings or arrays of numbers"
        )
    return {"constant": array.tolist(), "dtype": array.dtype.name}


def _untag(value: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(value, list):
        return [_untag(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "constant" in value:
        return np.asarray(value["constant"], value["dtype"])
    ((tag, content),) = value.items()
    readers: dict[str, Callable[[], Any]] = {
        "tensor": lambda: tensors[content],
        "tuple": lambda: tuple(_untag(content, tensors)),
        "dict": lambda: {key: _untag(each, tensors) for key, each in content.items()},
        "slice": lambda: slice(*_untag(content, tensors)),
        "ellipsis": lambda: Ellipsis,
    }
    return readers[tag]()
