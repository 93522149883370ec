"""The trainable form on disk: the tf_keras twin of a model, which techniques open, fine-tune and write again.

    twin.keras        tf_keras' own file, without optimizer and compile settings
    saved_model/      the same model for export and for TensorFlow; signature `serving_default`
    signature.json    names, dtypes and shapes: those of the reference, whatever tf_keras calls its tensors

tensorflow_model_optimization works on tf_keras models only, and tf_keras cannot open a Keras 3 file. Runs in `legacy`
workers.
"""

from pathlib import Path
from typing import Any

from tasks.foundations.errors import StepFailed
from tasks.models.interface import Interface, describe
from tasks.models.saved_model import SAVED_MODEL, write_saved_model
from tasks.models.signature import Signature, TensorSpec

TWIN_FILE = "twin.keras"


def save_twin(model: Any, signature: Signature, out: Path) -> None:
    """Write the folder of a twin.

    Args:
        model: a functional tf_keras.Model without wrappers of tfmot.
        signature: names, dtypes and shapes of the reference; matched with the model's tensors by position.
        out: an existing folder, empty.

    Raises:
        StepFailed: the signature is not that of the model, or tf_keras cannot write the model.
    """
    interface = named(model, signature)
    signature.write(out)
    write_saved_model(model, interface, out / SAVED_MODEL)
    _write(model, out / TWIN_FILE)


def open_twin(folder: Path) -> Any:
    """The twin of a folder: a tf_keras.Model, not compiled, whose layers have the names of the reference's layers.

    Raises:
        StepFailed: the file cannot be opened.
    """
    import tf_keras

    import tasks.models.bridge.registered  # noqa: F401 - tells tf_keras of our layers

    try:
        return tf_keras.models.load_model(folder / TWIN_FILE, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError) as error:
        raise StepFailed(
            f"{folder / TWIN_FILE} cannot be opened: {type(error).__name__}: {error}. Expected a file that save_twin "
            "wrote; cross the reference again."
        ) from error


def named(model: Any, signature: Signature) -> Interface:
    """How to call a model by the names of a signature.

    Args:
        model: a functional tf_keras.Model.
        signature: matched with the flattened inputs and outputs of the model by position.

    Raises:
        StepFailed: numbers, ranks or dtypes of the tensors differ.
    """
    import keras

    own = describe(model)
    _match("inputs", own.signature.inputs, signature.inputs)
    _match("outputs", own.signature.outputs, signature.outputs)
    names = dict(zip(own.signature.inputs, signature.inputs, strict=True))
    return Interface(signature=signature, inputs=keras.tree.map_structure(names.__getitem__, own.inputs))


def _match(side: str, have: dict[str, TensorSpec], wanted: dict[str, TensorSpec]) -> None:
    found = [(spec.dtype, len(spec.shape)) for spec in have.values()]
    expected = [(spec.dtype, len(spec.shape)) for spec in wanted.values()]
    if found != expected:
        raise StepFailed(
            f"The model has the {side} {_words(have)}, the signature has {_words(wanted)}: dtypes and ranks must "
            "agree position by position. Do not change inputs or outputs between techniques."
        )


def _words(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.dtype}{list(spec.shape)}" for name, spec in specs.items())


def _write(model: Any, path: Path) -> None:
    """Without optimizer: it doubles or triples the file, and losses of the user's own would not load elsewhere."""
    optimizer, compiled = getattr(model, "optimizer", None), model._is_compiled
    model.optimizer, model._is_compiled = None, False
    try:
        model.save(path, save_format="keras")
    except (NotImplementedError, TypeError, ValueError) as error:
        raise StepFailed(
            f"the twin cannot be written as a tf_keras file: {type(error).__name__}: {error}. Strip the wrappers of "
            "a technique before saving."
        ) from error
    finally:
        model.optimizer, model._is_compiled = optimizer, compiled
