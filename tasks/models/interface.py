"""What goes into a Keras model and comes out, by stable names.

Keras numbers the names that it makes up (`keras_tensor_9`, `dense_2`) through the life of a process. Signatures, file
names and caches built on them would change from run to run, so made-up names become `input` and `output`; names that
the user gave, and the keys of dicts, are kept.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.foundations.errors import InputError
from tasks.models.signature import Signature, TensorSpec


@dataclass(frozen=True)
class Interface:
    """How to call a model by names.

    Attributes:
        signature: names, dtypes and shapes.
        inputs: the model's own nesting of inputs (a name, or tuples and dicts of names).
    """

    signature: Signature
    inputs: Any

    def arrange(self, named: Mapping[str, Any]) -> Any:
        """Tensors by name -> the nesting that the model is called with."""
        import keras

        return keras.tree.map_structure(lambda name: named[name], self.inputs)

    def call(self, model: Any, named: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model in inference mode.

        Args:
            model: the model that this interface describes.
            named: tensor of every input.

        Returns:
            Tensor of every output.
        """
        import keras

        outputs = keras.tree.flatten(model(self.arrange(named), **_inference(model)))
        return dict(zip(self.signature.outputs, outputs, strict=True))


def describe(model: Any) -> Interface:
    """The interface of a built Keras model.

    Names, for inputs and outputs alike: the key where the model takes or gives a dict; else the name that the user
    gave to the Input or the last layer; else `input` / `output`, or `input_0`, `input_1`, ... by position if there are
    several. Characters other than letters, digits and `_` become `_`.

    Raises:
        InputError: the model cannot be called with one batch of free size.
    """
    import keras

    inputs, outputs = _structures(model)
    flat_inputs, flat_outputs = keras.tree.flatten(inputs), keras.tree.flatten(outputs)
    input_names = _names("input", inputs, [_given_name(tensor) for tensor in flat_inputs])
    output_names = _names("output", outputs, [_layer_name(tensor) for tensor in flat_outputs])
    output_names = [f"{name}_output" if name in input_names else name for name in output_names]  # ONNX forbids it
    _free_batch(input_names, flat_inputs)
    signature = Signature(inputs=_specs(input_names, flat_inputs), outputs=_specs(output_names, flat_outputs))
    nested = keras.tree.pack_sequence_as(inputs, input_names)
    return Interface(signature=signature, inputs=_plain(nested))


def _structures(model: Any) -> tuple[Any, Any]:
    """Nested KerasTensors of inputs and outputs."""
    import keras

    graph = getattr(model, "_functional", None) or model
    if hasattr(graph, "_inputs_struct"):
        return graph._inputs_struct, graph._outputs_struct
    if getattr(graph, "_nested_inputs", None) is not None:  # tf_keras, in which techniques fine-tune
        return graph._nested_inputs, graph._nested_outputs
    shapes = model._build_shapes_dict or {}
    if len(shapes) != 1:
        raise InputError(
            f"model: {type(model).__name__}.call() takes {len(shapes)} arguments of tensors ({', '.join(shapes)}). "
            "Expected one; pass several tensors as one dict."
        )
    inputs = keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor((None, *shape[1:]), dtype=model.input_dtype), next(iter(shapes.values()))
    )
    return inputs, model.compute_output_spec(inputs, **_inference(model))


def _inference(model: Any) -> dict[str, bool]:
    """How the model is told that it does not train; a user's own `call(self, inputs)` cannot be told and need not."""
    parameters = inspect.signature(model.call).parameters.values()
    told = any(each.name == "training" or each.kind is each.VAR_KEYWORD for each in parameters)
    return {"training": False} if told else {}


def _names(side: str, structure: Any, given: list[str]) -> list[str]:
    import keras

    keys = ["_".join(str(part) for part in path) for path, _ in keras.tree.flatten_with_path(structure)]
    by_key = isinstance(structure, Mapping)
    several = len(given) > 1
    names = []
    for position, (key, name) in enumerate(zip(keys, given, strict=True)):
        chosen = key if by_key else name
        names.append(re.sub(r"\W", "_", chosen) or (f"{side}_{position}" if several else side))
    return [name if names.count(name) == 1 else f"{name}_{position}" for position, name in enumerate(names)]


def _given_name(tensor: Any) -> str:
    """The name that the user gave to an Input; empty if Keras made it up or there is none."""
    name = getattr(tensor, "name", None) or ""
    counted = "input" if type(tensor).__module__.startswith("tf_keras") else "keras_tensor|input_layer"
    return "" if re.fullmatch(rf"({counted})(_\d+)?", name) else name


def _layer_name(tensor: Any) -> str:
    """The name that the user gave to the layer that makes an output; empty if Keras made it up of the class."""
    history = getattr(tensor, "_keras_history", None)
    operation = getattr(history, "operation", None) or getattr(history, "layer", None)
    if operation is None:  # a subclassed model has no graph
        return ""
    made_up = _snake(type(operation).__name__)
    return "" if re.fullmatch(rf"{re.escape(made_up)}(_\d+)?", operation.name) else str(operation.name)


def _snake(name: str) -> str:
    """As Keras does it, where `Conv2D` is `conv2d`."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _free_batch(names: list[str], tensors: list[Any]) -> None:
    for name, tensor in zip(names, tensors, strict=True):
        if not tensor.shape or tensor.shape[0] is not None:
            raise InputError(
                f"model: input {name!r} has shape {tuple(tensor.shape)}. The batch size must be free: "
                "use keras.Input(shape=...) without batch_size or batch_shape."
            )


def _specs(names: list[str], tensors: list[Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(dtype=_dtype(tensor), shape=(None, *tuple(tensor.shape)[1:]))
        for name, tensor in zip(names, tensors, strict=True)
    }


def _dtype(tensor: Any) -> str:
    name = str(getattr(tensor.dtype, "name", tensor.dtype))
    return "str" if name == "string" else name


def _plain(structure: Any) -> Any:
    """Lists become tuples (tf.data makes tensors of lists), Keras' own dicts become plain ones."""
    if isinstance(structure, Mapping):
        return {key: _plain(value) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return tuple(_plain(value) for value in structure)
    return structure
