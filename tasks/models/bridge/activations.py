"""From an activation of Keras 3 to what computes the same in tf_keras."""

from typing import Any

from tasks.models.bridge.refusal import Unsupported

# The same definition in both.
SAME = frozenset(
    {"elu", "exponential", "gelu", "linear", "mish", "relu", "selu", "sigmoid", "silu", "softmax", "softplus",
     "softsign", "tanh"}
)  # fmt: skip
# What tfmot's quantization can train inside a layer; it stops at any other, which the bridge puts behind the layer.
QUANTIZABLE = frozenset({"gelu", "linear", "relu", "sigmoid", "silu", "softmax", "tanh"})


def name_of(function: Any) -> str:
    """The Keras 3 name of an activation.

    Raises:
        Unsupported: not a function of keras.activations.
    """
    import keras

    written = keras.activations.serialize(function)
    name = written if isinstance(written, str) else ""
    if getattr(keras.activations, name, None) is function:
        return name
    found = getattr(function, "__name__", type(function).__name__)
    raise Unsupported(
        f"its activation {found!r} is not one of Keras' own functions",
        "Use a function of keras.activations or a layer of its own for the activation",
    )


def twin_of(function: Any) -> Any:
    """A name or function that tf_keras takes as an activation.

    Raises:
        Unsupported: not a function of keras.activations.
    """
    from tasks.models.bridge import registered

    name = name_of(function)
    if name in SAME:
        return name
    if name in registered.FUNCTIONS:
        return registered.FUNCTIONS[name]
    raise Unsupported(f"its activation {name!r} has no counterpart", "Use another activation")
