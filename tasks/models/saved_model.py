"""A trained model on disk: the SavedModel that TensorFlow Serving runs, and the `.keras` file that can be trained on.

    saved_model/      signature `serving_default` with the inputs and outputs of `signature.json`, inference mode
    model.keras       Keras 3's own file, without optimizer and compile settings
    signature.json    names, dtypes and shapes
    training.json     history and settings of the training; absent where the model came trained

Keras cannot train a SavedModel further, and TensorFlow Serving cannot run a `.keras` file: both are kept.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.interface import Interface, describe

SAVED_MODEL = "saved_model"
KERAS_FILE = "model.keras"
TRAINING_FILE = "training.json"
ENDPOINT = "serving_default"


def save(model: Any, out: Path, training: Mapping[str, Any] | None = None, interface: Interface | None = None) -> None:
    """Write a model folder.

    Args:
        model: a built keras.Model (Keras 3).
        out: an existing folder, empty.
        training: what `training.json` holds; None for a model that came trained.
        interface: how the model is called where the names of its signature are not its own (a student's, which takes
            the reference's place); default: as it describes itself.

    Raises:
        StepFailed: Keras cannot write the model; the message says which part.
    """
    interface = interface or describe(model)
    interface.signature.write(out)
    write_saved_model(model, interface, out / SAVED_MODEL)
    _write_keras(model, out / KERAS_FILE)
    if training is not None:
        (out / TRAINING_FILE).write_text(json.dumps(training, indent=2) + "\n")


def write_saved_model(model: Any, interface: Interface, folder: Path) -> None:
    """Write a SavedModel whose one signature has named inputs and outputs and a free batch size."""
    import tensorflow as tf
    from tensorflow.saved_model.experimental import TrackableResource

    specs = {
        name: tf.TensorSpec(spec.shape, tf.string if spec.dtype == "str" else spec.dtype, name=name)
        for name, spec in interface.signature.inputs.items()
    }

    def serve(**named: Any) -> dict[str, Any]:
        outputs = interface.call(model, named)
        # An output that is an input or another output would lose its name.
        return {name: tf.identity(tensor, name=name) for name, tensor in outputs.items()}

    function = tf.function(serve, autograph=False).get_concrete_function(**specs)
    # Not keras.export, which writes every weight twice.
    root = tf.Module()
    root.weights = list(function.variables)
    root.tables = [part for part in tf.train.TrackableView(model).descendants() if isinstance(part, TrackableResource)]
    tf.saved_model.save(root, str(folder), signatures={ENDPOINT: function})


def open_keras(folder: Path) -> Any:
    """The trainable model of a model folder, not compiled.

    Raises:
        InputError: the model needs classes that this process does not know.
    """
    import keras

    try:
        return keras.models.load_model(folder / KERAS_FILE, compile=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"model: {KERAS_FILE} cannot be opened again: {error}. Custom layers need "
            "@keras.saving.register_keras_serializable() and get_config(); Lambda layers cannot be reopened safely."
        ) from error


def _write_keras(model: Any, path: Path) -> None:
    """Without optimizer: it doubles or triples the file, and a loss of the user's own would not load elsewhere."""
    optimizer, compiled = getattr(model, "optimizer", None), model.compiled
    model.optimizer, model.compiled = None, False
    try:
        model.save(path)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise StepFailed(
            f"the model cannot be written as a Keras file: {type(error).__name__}: {error}. "
            "Custom layers need get_config()."
        ) from error
    finally:
        model.optimizer, model.compiled = optimizer, compiled
