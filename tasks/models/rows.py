"""From rows of a data set to what a model accepts: names, shapes and dtypes checked with words, a few rows at a time.

Runtimes answer a wrong dtype with an internal error or, worse, with a silent cast; a person needs the name of the
input and both shapes. Arrays may be memory maps: nothing here copies more than the rows that were asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError
from tasks.foundations.maps import release
from tasks.models.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
_CASTS = {"f": "biuf", "i": "biu", "u": "biu", "b": "b", "c": "c"}


def match(arrays: Mapping[str, Array], signature: Signature) -> dict[str, Array]:
    """Pair the data's arrays with the model's inputs. Looks at headers only: no row is read.

    Args:
        arrays: data name -> (rows, ...). A single array feeds a single input whatever the names.
        signature: the model's.

    Returns:
        Model input -> array, in the model's order, unchanged.

    Raises:
        InputError: names, rank, shape or kind of dtype do not fit, or the arrays differ in their number of rows.
    """
    if len(arrays) == 1 and len(signature.inputs) == 1:
        arrays = dict(zip(signature.inputs, arrays.values(), strict=True))
    if set(arrays) != set(signature.inputs):
        raise InputError(
            f"The model takes the inputs {sorted(signature.inputs)}, the data has {sorted(arrays)}. "
            "Name the arrays of the data as the model names its inputs."
        )
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"The inputs have different numbers of rows: {counts}. Every input needs the same rows.")
    for name, spec in signature.inputs.items():
        _check_shape(name, arrays[name], spec)
        _check_kind(name, arrays[name].dtype, spec.dtype)
    return {name: arrays[name] for name in signature.inputs}


def cast(name: str, rows: Array, dtype: str) -> Array:
    """Copy rows into memory as the dtype that the model takes.

    Args:
        name: the input, for messages.
        rows: (batch, ...), may be memory-mapped.
        dtype: the signature's name of a dtype; `str` gives an object array of Python strings.

    Returns:
        (batch, ...) contiguous.

    Raises:
        InputError: a value does not fit (an integer out of range, a finite float that becomes infinite), or the
            kinds of dtype have nothing to do with each other.
    """
    _check_kind(name, rows.dtype, dtype)
    if dtype == "str":
        return (np.char.decode(rows, "utf-8") if rows.dtype.kind == "S" else np.asarray(rows)).astype(object)
    wanted = np.dtype(dtype)
    if wanted.kind in "iu" and rows.dtype.kind in "iu" and rows.size and not np.can_cast(rows.dtype, wanted):
        limits = np.iinfo(wanted)
        low, high = int(rows.min()), int(rows.max())
        if low < limits.min or high > limits.max:
            raise InputError(
                f"Input {name!r} has values from {low} to {high}; the model takes {dtype}, "
                f"{limits.min} to {limits.max}. Scale or clip the data."
            )
    with np.errstate(over="ignore"):
        result: Array = np.array(rows, dtype=wanted, order="C")
    if wanted.kind == "f" and not np.can_cast(rows.dtype, wanted) and (np.isinf(result) & np.isfinite(rows)).any():
        raise InputError(
            f"Input {name!r} has values beyond the range of {dtype}, which the model takes. Scale the data."
        )
    return result


def take(arrays: Mapping[str, Array], signature: Signature, rows: slice | Array) -> dict[str, Array]:
    """Rows of matched arrays in memory, contiguous, as the signature's dtypes; strings become object arrays."""
    return {name: cast(name, arrays[name][rows], spec.dtype) for name, spec in signature.inputs.items()}


def batches(
    arrays: Mapping[str, Array], signature: Signature, rows: int, batch_size: int
) -> Iterator[dict[str, Array]]:
    """The first `rows` rows in batches; the last one may be shorter."""
    for start in range(0, rows, batch_size):
        yield take(arrays, signature, slice(start, min(start + batch_size, rows)))
        for array in arrays.values():
            release(array)


def count(arrays: Mapping[str, Array]) -> int:
    """Number of rows."""
    return min(len(array) for array in arrays.values())


def _check_shape(name: str, array: Array, spec: TensorSpec) -> None:
    fits = array.ndim == len(spec.shape) and all(
        wanted is None or size == wanted for size, wanted in zip(array.shape[1:], spec.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"Input {name!r}: the data has rows of shape {_words(array.shape[1:])}, "
            f"the model takes {_words(spec.shape[1:])}. Reshape the data or rebuild the model."
        )


def _check_kind(name: str, found: np.dtype[Any], wanted: str) -> None:
    try:
        allowed = "US" if wanted == "str" else _CASTS[np.dtype(wanted).kind]
    except (TypeError, KeyError) as error:
        raise InputError(f"Input {name!r}: the model takes {wanted}, which data sets cannot hold.") from error
    if found.kind not in allowed:
        raise InputError(
            f"Input {name!r}: the data is {found}, the model takes {wanted}, and that cast could change its meaning. "
            f"Store the data as {wanted}."
        )


def _words(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
