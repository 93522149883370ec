"""Rows of a data set as the named inputs of a model: one place that matches names, dtypes and row counts.

Parity after conversion and calibration both read a few rows at a time from memory maps, so nothing here copies more
than the rows that were asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError
from tasks.models.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


def match(arrays: Mapping[str, Array], signature: Signature) -> dict[str, Array]:
    """Bring a data set's arrays under the model's input names, in the model's order, without reading them.

    Args:
        arrays: name -> (rows, ...). One array feeds a model with one input whatever the names are.
        signature: the model's inputs.

    Raises:
        InputError: an input is missing, a shape does not fit, or row counts differ.
    """
    if len(arrays) == 1 and len(signature.inputs) == 1:
        found = dict(zip(signature.inputs, arrays.values(), strict=True))
    else:
        missing = sorted(set(signature.inputs) - set(arrays))
        if missing:
            raise InputError(
                f"The data has no input {', '.join(missing)}. The model takes {', '.join(signature.inputs)}, "
                f"the data offers {', '.join(arrays) or 'nothing'}. Name the data's inputs as the model's."
            )
        found = {name: arrays[name] for name in signature.inputs}
    for name, array in found.items():
        _check_shape(name, array, signature.inputs[name])
    if len({len(array) for array in found.values()}) > 1:
        counts = ", ".join(f"{name}: {len(array)}" for name, array in found.items())
        raise InputError(f"The inputs have different numbers of rows ({counts}). Give every input the same rows.")
    return found


def take(arrays: Mapping[str, Array], signature: Signature, start: int, stop: int) -> dict[str, Array]:
    """Rows start to stop as contiguous arrays of the signature's dtypes; strings become object arrays."""
    return {
        name: np.ascontiguousarray(array[start:stop], dtype=_numpy_dtype(signature.inputs[name]))
        for name, array in arrays.items()
    }


def batches(
    arrays: Mapping[str, Array], signature: Signature, rows: int, batch_size: int
) -> Iterator[dict[str, Array]]:
    """The first `rows` rows in batches; the last one may be shorter."""
    for start in range(0, rows, batch_size):
        yield take(arrays, signature, start, min(start + batch_size, rows))


def count(arrays: Mapping[str, Array]) -> int:
    """Number of rows."""
    return min(len(array) for array in arrays.values())


def _check_shape(name: str, array: Array, spec: TensorSpec) -> None:
    fits = array.ndim == len(spec.shape) and all(
        want is None or want == have for want, have in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"Input {name!r} has rows of shape {tuple(array.shape[1:])}, the model expects {tuple(spec.shape[1:])} "
            "(None is free). Reshape the data or change the model's input."
        )


def _numpy_dtype(spec: TensorSpec) -> Any:
    return np.dtype(object) if spec.dtype == "str" else np.dtype(spec.dtype)
