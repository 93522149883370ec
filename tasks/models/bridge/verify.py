"""The proof that a twin computes what its model computes: every output, on real rows, alone and in batches."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tasks.foundations.errors import ProofFailed
from tasks.models import onnx_parity
from tasks.models.interface import Interface
from tasks.models.onnx_parity import Parity
from tasks.models.signature import Signature
from tasks.models.twin import named

# Both run the same kernels of TensorFlow on the same weights; on the models of the tests they differ by at most 1e-6
# of the largest output.
TOLERANCE = 1e-5
BATCH_SIZE = 32

Array = np.ndarray[Any, Any]
Take = Callable[[slice], Mapping[str, Array]]


def verify(model: Any, twin: Any, signature: Signature, take: Take, rows: int) -> dict[str, Parity]:
    """Compare a model and its twin in inference mode.

    Args:
        model: of Keras 3.
        twin: of tf_keras.
        signature: names of the inputs and outputs of both, by position.
        take: rows -> input name -> (rows, ...).
        rows: how many to compare, at least 1. The first row runs once more alone.

    Returns:
        Output name -> difference.

    Raises:
        ProofFailed: an output differs by more than rounding explains; the message carries the figures.
    """
    slices = list(_slices(rows))
    reference = _run(model, named(model, signature), take, slices)
    parity = onnx_parity.compare(reference, _run(twin, named(twin, signature), take, slices))
    _refuse(parity, tolerance_of(model))
    return parity


def tolerance_of(model: Any) -> float:
    """Allowed difference, relative to the largest output."""
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers())
    return onnx_parity.HALF_TOLERANCE if half else TOLERANCE


def _slices(rows: int) -> Iterator[slice]:
    yield slice(0, 1)
    for start in range(0, rows, BATCH_SIZE):
        yield slice(start, min(start + BATCH_SIZE, rows))


def _traced(model: Any, interface: Interface) -> Any:
    """The model as one function of a free batch size: run layer by layer, recurrent ones are traced at every call."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec(spec.shape, tf.string if spec.dtype == "str" else spec.dtype, name=name)
        for name, spec in interface.signature.inputs.items()
    }

    def run(**named: Any) -> dict[str, Any]:
        return interface.call(model, named)

    return tf.function(run, autograph=False).get_concrete_function(**specs)


def _run(model: Any, interface: Interface, take: Take, slices: list[slice]) -> dict[str, Array]:
    import tensorflow as tf

    function = _traced(model, interface)
    parts = [function(**{name: tf.constant(array) for name, array in take(each).items()}) for each in slices]
    return {name: np.concatenate([_array(part[name]) for part in parts]) for name in interface.signature.outputs}


def _array(tensor: Any) -> Array:
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array


def _refuse(parity: Mapping[str, Parity], tolerance: float) -> None:
    for name, figures in parity.items():
        if figures.max_abs > tolerance * figures.scale:
            raise ProofFailed(
                f"Output {name!r} of the tf_keras twin differs from the Keras model by {figures.max_abs:.3g} (relative "
                f"{figures.max_rel:.3g}) on {figures.rows} rows; allowed is {tolerance * figures.scale:.3g}. A layer "
                "means something else in tf_keras: use only ONNX-level techniques, or replace the layer."
            )
