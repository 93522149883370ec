"""A GRU of Keras 3 as ONNX's own operator.

tf2onnx knows the loop that tf_keras makes of a GRU. The one of Keras 3 it leaves an ONNX Loop, whose body ONNX Runtime
runs step by step: 2.6 times slower with 256 units, 12 times with 32. So the model's twin is converted in its place;
that the file computes what the model's own SavedModel does is proved afterwards, as always.
"""

import tempfile
from pathlib import Path
from typing import Any

from tasks.models.onnx_graph import walk
from tasks.models.saved_model import KERAS_FILE, SAVED_MODEL, open_keras
from tasks.models.signature import Signature


def loops(model: Any) -> int:
    """Number of Loops in a ModelProto."""
    return sum(node.op_type == "Loop" for node in walk(model.graph))


def of_twin(source: Path, signature: Signature, most: int) -> Any | None:
    """The twin of a model folder as a ModelProto, if it has less than `most` Loops.

    Returns:
        None where the folder has no Keras 3 file, the model has no GRU, or the twin's GRUs stay Loops too, as with a
        mask.

    Raises:
        InputError: the model cannot be opened.
        StepFailed: it has no twin, or the twin no ONNX form.
    """
    import keras

    from tasks.models.bridge.foreign import refuse_foreign
    from tasks.models.bridge.walk import cross
    from tasks.models.onnx_convert import convert
    from tasks.models.twin import save_twin

    if not (source / KERAS_FILE).exists():
        return None
    refuse_foreign(source / KERAS_FILE)
    model = open_keras(source)
    if not any(isinstance(layer, keras.layers.GRU) for layer in model._flatten_layers()):
        return None
    with tempfile.TemporaryDirectory(prefix="slipway-twin-") as folder:
        save_twin(cross(model), signature, Path(folder))
        twin = convert(Path(folder) / SAVED_MODEL, signature)
    return twin if loops(twin) < most else None
