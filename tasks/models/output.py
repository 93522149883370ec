"""Whether a model's outputs are what the task says: the commonest mistakes, found before any work."""

from typing import Any, Literal

from tasks.foundations.errors import InputError
from tasks.models.signature import Signature

Output = Literal["logits", "probabilities"]


def check_ranks(signature: Signature) -> None:
    """Labels are one class, or one row of numbers, for each row of inputs.

    Raises:
        InputError: an output has more dimensions than that.
    """
    for name, spec in signature.outputs.items():
        if len(spec.shape) > 2:
            raise InputError(
                f"model: its output {name!r} has shape {tuple(spec.shape[1:])} a row. Expected one vector a row, like "
                "(classes,) or (1,): outputs of sequences or images are not supported yet. Pool or flatten them."
            )


def check_output(model: Any, output: Output | None) -> None:
    """The commonest mistake of all: a softmax at the end, and a loss that expects logits (or the reverse).

    Args:
        model: a Keras model, of either library.
        output: what the task says, None for regression.

    Raises:
        InputError: the model's last layer contradicts it.
    """
    last = _last_activation(model)
    if output == "logits" and last in ("softmax", "sigmoid"):
        raise InputError(
            f"model: the task says output: logits, but the model ends in {last}. "
            "Write output: probabilities, or leave the last activation out."
        )
    if output == "probabilities" and last == "linear":
        raise InputError(
            "model: the task says output: probabilities, but the model's last layer has no activation. "
            "Write output: logits, or end it with softmax (sigmoid for one output)."
        )


def _last_activation(model: Any) -> str | None:
    """Name of the activation that the first output comes from, None if it cannot be told."""
    outputs = getattr(model, "outputs", None)
    history = getattr(outputs[0], "_keras_history", None) if outputs else None
    layer = getattr(history, "operation", None) or getattr(history, "layer", None)  # tf_keras calls it layer
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return getattr(getattr(layer, "activation", None), "__name__", None)
