"""Whether a model's outputs are what the task says: the commonest mistakes, found before any work."""

from typing import Any, Literal

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest
from tasks.models.signature import Signature

Output = Literal["logits", "probabilities"]
Kind = Literal["classification", "multilabel", "regression", "custom"]


class Meaning(Record):
    """What the task says of a model's outputs, as far as the model and its training need to know.

    Attributes:
        kind: of the task.
        output: what the scores of classes or labels are; None where there are none.
        judged: output that the labels belong to; None for the first.
    """

    kind: Kind
    output: Output | None = None
    judged: str | None = None


NUMBERS = Meaning(kind="regression")


def judged_output(signature: Signature, meaning: Meaning) -> str:
    """Name of the output that the labels belong to.

    Raises:
        InputError: the task names one that the model does not have.
    """
    known = tuple(signature.outputs)
    if meaning.judged is None:
        return known[0]
    if meaning.judged not in known:
        raise InputError(
            f"task.judged: the model has no output {meaning.judged!r}.{suggest(meaning.judged, known)} Its outputs are "
            f"{', '.join(known)}."
        )
    return meaning.judged


def check_ranks(signature: Signature, meaning: Meaning) -> None:
    """Labels are one class, or one row of numbers, for each row of inputs, unless the task is custom.

    Raises:
        InputError: the judged output has more dimensions than that, or there is none of its name.
    """
    name = judged_output(signature, meaning)
    shape = signature.outputs[name].shape
    if meaning.kind != "custom" and len(shape) > 2:
        raise InputError(
            f"model: its output {name!r} has shape {tuple(shape[1:])} a row. A {meaning.kind} task expects one vector "
            "a row, like (classes,) or (1,). Pool or flatten it, or use task: {kind: custom} with a metric of your own "
            "for outputs of sequences or images."
        )


def check_output(model: Any, meaning: Meaning, signature: Signature) -> None:
    """The commonest mistake of all: a softmax at the end, and a loss that expects logits (or the reverse).

    Args:
        model: a Keras model, of either library.
        meaning: what the task says.
        signature: of the model.

    Raises:
        InputError: the last layer of the judged output contradicts it.
    """
    if meaning.kind != "custom":
        name = judged_output(signature, meaning)
        refuse_contradiction(last_activation(model, list(signature.outputs).index(name)), meaning)


def refuse_contradiction(last: str | None, meaning: Meaning) -> None:
    """Compare the activation that an output ends in with what the task says.

    Raises:
        InputError: they contradict each other.
    """
    if meaning.kind == "multilabel" and last == "softmax":
        raise InputError(
            "model: it ends in softmax, which shares one whole out among the labels; in a multilabel task each label "
            "is yes or no by itself. End it with sigmoid, or write task: {kind: classification} for one class a row."
        )
    if meaning.output == "logits" and last in ("softmax", "sigmoid"):
        raise InputError(
            f"model: the task says output: logits, but the model ends in {last}. "
            "Write output: probabilities, or leave the last activation out."
        )
    if meaning.output == "probabilities" and last == "linear":
        end = "sigmoid" if meaning.kind == "multilabel" else "softmax (sigmoid for one output)"
        raise InputError(
            "model: the task says output: probabilities, but the model's last layer has no activation. "
            f"Write output: logits, or end it with {end}."
        )


def last_activation(model: Any, position: int) -> str | None:
    """Name of the activation that an output comes from, None if it cannot be told."""
    outputs = getattr(model, "outputs", None)
    history = getattr(outputs[position], "_keras_history", None) if outputs else None
    layer = getattr(history, "operation", None) or getattr(history, "layer", None)  # tf_keras calls it layer
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return getattr(getattr(layer, "activation", None), "__name__", None)
