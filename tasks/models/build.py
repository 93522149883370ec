"""The job that calls the user's model code, so that its content, not its file's date, is the key of what follows."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.foundations import menu
from tasks.foundations.record import Record
from tasks.models.interface import describe
from tasks.models.output import NUMBERS, Meaning, check_output, check_ranks
from tasks.models.signature import Signature

if TYPE_CHECKING:
    Source = Any
else:
    Source = menu.union("tasks.models.sources")


class BuildRequest(Record):
    """Which model to open.

    Attributes:
        source: a choice of `tasks.models.sources`.
        folder: absolute path of the config's folder.
        seed: of the initial weights.
        meaning: what the task says of the outputs.
    """

    source: Source
    folder: str
    seed: int
    meaning: Meaning = NUMBERS


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
    check_ranks(signature, request.meaning)
    check_output(model, request.meaning, signature)
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
