"""The job that calls the user's model code, so that its content, not its file's date, is the key of what follows."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.foundations import menu
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models.interface import describe
from tasks.models.signature import Signature

if TYPE_CHECKING:
    Source = Any
else:
    Source = menu.union("tasks.models.sources")

Output = Literal["logits", "probabilities"]


class BuildRequest(Record):
    """Which model to open.

    Attributes:
        source: a choice of `tasks.models.sources`.
        folder: absolute path of the config's folder.
        seed: of the initial weights.
        output: what a classifier's output is, None for regression.
    """

    source: Source
    folder: str
    seed: int
    output: Output | None = None


class BuildResult(Record):
    """What was opened.

    Attributes:
        fingerprint: sha256 over architecture and initial weights; `train` checks that it builds the same model.
        source_digest: sha256 over the user's model code.
        digest: sha256 over both: the key of what follows from the model.
        signature: names, dtypes and shapes of its inputs and outputs.
        parameters: number of weights, trainable or not.
    """

    fingerprint: str
    source_digest: str
    digest: str
    signature: Signature
    parameters: int


def build(request: BuildRequest) -> BuildResult:
    """Open the model of the config and describe it; nothing is written.

    Raises:
        InputError: the user's code raised, returned no usable model, or the model's last layer contradicts the
            task's `output`.
    """
    folder = Path(request.folder)
    model = request.source.open(folder, request.seed)
    signature = describe(model).signature
    _check_ranks(signature)
    _check_output(model, request.output)
    fingerprint, source = fingerprint_of(model), request.source.source_digest(folder)
    return BuildResult(
        fingerprint=fingerprint,
        source_digest=source,
        digest=hashlib.sha256(f"{fingerprint}\n{source}".encode()).hexdigest(),
        signature=signature,
        parameters=int(model.count_params()),
    )


def fingerprint_of(model: Any) -> str:
    """sha256 (hex) over a Keras model's configuration and all of its weights."""
    digest = hashlib.sha256(_architecture(model).encode())
    for weight in model.weights:
        value = weight.numpy()
        digest.update(f"\n{value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _architecture(model: Any) -> str:
    """The configuration as sorted JSON; the class name of a subclassed model that has none."""
    import keras

    try:
        config = keras.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError):
        return type(model).__name__
    config.pop("compile_config", None)  # what the user compiled does not matter: Slipway compiles
    return json.dumps(config, sort_keys=True, default=str)


def _check_ranks(signature: Signature) -> None:
    """Labels are one class, or one row of numbers, for each row of inputs."""
    for name, spec in signature.outputs.items():
        if len(spec.shape) > 2:
            raise InputError(
                f"model: its output {name!r} has shape {tuple(spec.shape[1:])} a row. Expected one vector a row, like "
                "(classes,) or (1,): outputs of sequences or images are not supported yet. Pool or flatten them."
            )


def _check_output(model: Any, output: Output | None) -> None:
    """The commonest mistake of all: a softmax at the end, and a loss that expects logits (or the reverse)."""
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
    layer = getattr(history, "operation", None)
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return getattr(getattr(layer, "activation", None), "__name__", None)
