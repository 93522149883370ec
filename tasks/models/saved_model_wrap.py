"""One signature of any SavedModel, written again as the `saved_model/` of a model folder.

Whoever comes later finds one signature, `serving_default`, with the names of `signature.json`, whatever the export was
called and held. Its weights, vocabularies and tables go with it; other signatures and training functions do not.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError
from tasks.models.output import Meaning, check_ranks, judged_output
from tasks.models.saved_model import ENDPOINT, SAVED_MODEL
from tasks.models.saved_model_content import SavedModelContent
from tasks.models.signature import Signature, TensorSpec

_SUM_TOLERANCE = 1e-3  # of probabilities in half precision


def wrap(folder: Path, content: SavedModelContent, name: str, out: Path, meaning: Meaning) -> Signature:
    """Load a SavedModel, check what it answers, and write it as a model folder.

    Args:
        folder: the SavedModel.
        content: what it says about the signature.
        name: of the signature.
        out: an existing folder, empty.
        meaning: what the task says.

    Raises:
        InputError: TensorFlow cannot load or run it, or its outputs do not fit the task.
    """
    loaded = _load(folder, content)
    function = loaded.signatures[name]
    check_ranks(content.signature, meaning)
    answers = _run_once(function, content, folder)
    _check_numbers(answers.get(judged_output(content.signature, meaning)), meaning)
    content.signature.write(out)
    _write(loaded, function, content, out / SAVED_MODEL)
    return content.signature


def _load(folder: Path, content: SavedModelContent) -> Any:
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(folder), tags=list(content.tags))
    except Exception as error:  # whatever a foreign graph raises while it is restored
        said = " ".join(str(error).split())[:400]
        hint = "Export it where that operation's library is installed, without it. " if "Op type not" in said else ""
        raise InputError(
            f"TensorFlow {tf.__version__} cannot load {folder}: {type(error).__name__}: {said}. {hint}"
            "Check that the whole folder was copied (saved_model.pb, variables/, assets/)."
        ) from error


def _run_once(function: Any, content: SavedModelContent, folder: Path) -> dict[str, Any]:
    """Outputs for two rows of zeros, which every dtype has; free dimensions get the size 1."""
    import tensorflow as tf

    feeds = {content.inputs[ours]: tf.constant(_zeros(spec)) for ours, spec in content.signature.inputs.items()}
    try:
        outputs = function(**feeds)
    except tf.errors.OpError:
        return {}  # zeros, or so few of them, need not be valid; real rows will tell
    except (TypeError, ValueError) as error:
        raise InputError(f"The signature of {folder} cannot be called by its own names: {error}.") from error
    return {ours: outputs[theirs].numpy() for ours, theirs in content.outputs.items()}


def _zeros(spec: TensorSpec) -> Any:
    shape = (2, *(1 if size is None else size for size in spec.shape[1:]))
    return np.full(shape, b"", dtype=object) if spec.dtype == "str" else np.zeros(shape, spec.dtype)


def _check_numbers(judged: Any, meaning: Meaning) -> None:
    """A SavedModel hides its last layer; that rows sum to one tells probabilities from logits."""
    if meaning.kind == "multilabel" and judged is not None:
        _check_labels(judged, meaning)
    if meaning.kind != "classification" or judged is None:
        return
    if judged.ndim < 2 or judged.shape[-1] < 2 or judged.dtype.kind != "f":
        return
    output = meaning.output
    sums = bool(np.all(np.abs(judged.sum(-1) - 1) < _SUM_TOLERANCE) and np.all(judged >= 0))
    if output == "logits" and sums:
        raise InputError(
            "model: the task says output: logits, but the rows that the model answers are not negative and sum to 1. "
            "Write output: probabilities."
        )
    if output == "probabilities" and not sums:
        raise InputError(
            "model: the task says output: probabilities, but the rows that the model answers do not sum to 1. "
            "Write output: logits, or export the model with softmax at its end."
        )


def _check_labels(judged: Any, meaning: Meaning) -> None:
    """What is no probability of a label cannot be one; whether numbers from 0 to 1 are logits, real rows will tell."""
    if meaning.output == "probabilities" and (judged.min() < -_SUM_TOLERANCE or judged.max() > 1 + _SUM_TOLERANCE):
        raise InputError(
            f"model: the task says output: probabilities, but the model answers {judged.min():.4g} to "
            f"{judged.max():.4g}. Write output: logits, or export the model with sigmoid at its end."
        )


def _write(loaded: Any, function: Any, content: SavedModelContent, folder: Path) -> None:
    import tensorflow as tf
    from tensorflow.saved_model.experimental import TrackableResource

    def serve(**named: Any) -> dict[str, Any]:
        outputs = function(**{content.inputs[ours]: tensor for ours, tensor in named.items()})
        return {ours: tf.identity(outputs[theirs], name=ours) for ours, theirs in content.outputs.items()}

    specs = {
        ours: tf.TensorSpec(spec.shape, tf.string if spec.dtype == "str" else spec.dtype, name=ours)
        for ours, spec in content.signature.inputs.items()
    }
    traced = tf.function(serve, autograph=False).get_concrete_function(**specs)
    parts = tf.train.TrackableView(loaded).descendants()
    root = tf.Module()
    root.weights = list({id(each): each for each in (*traced.variables, *function.variables)}.values())
    root.tables = [part for part in parts if isinstance(part, TrackableResource)]
    root.assets = [part for part in parts if isinstance(part, tf.saved_model.Asset)]
    tf.saved_model.save(root, str(folder), signatures={ENDPOINT: traced})
