"""Data is checked before any work: one wrong value would otherwise show hours later, as a bad accuracy.

Arrays may be memory maps larger than memory, so everything scans in chunks of rows.
"""

from typing import Any

import numpy as np

from tasks.data.chunks import chunks
from tasks.data.expected import Expected, Tensor
from tasks.data.returned import Array, Table
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest


def check_finite(what: str, array: Array) -> None:
    """Raise InputError with the first row that holds NaN or infinity."""
    if array.dtype.kind != "f":
        return
    for start, rows in chunks(array):
        good = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if not good.all():
            row = int(np.argmin(good))
            values = rows[row].ravel()
            value = values[~np.isfinite(values)][0]
            raise InputError(
                f"data: {what}, row {start + row}: the value is {value}. Expected finite numbers; "
                "fill or drop such rows."
            )


def check_against_signature(table: Table, expected: Expected, split: str) -> None:
    """Match one split's inputs with the model's.

    Args:
        table: the split.
        expected: the model's signature.
        split: its name.

    Raises:
        InputError: names, shapes or dtypes that do not match, values that the model's dtype cannot hold.
    """
    for name, wanted in match_names(tuple(table.inputs), tuple(expected.inputs)).items():
        _check_input(f"{split} input {name!r}", table.inputs[name], expected.inputs[wanted])


def match_names(given: tuple[str, ...], wanted: tuple[str, ...]) -> dict[str, str]:
    """Data input -> model input. One input feeds one input whatever the names; several match by name.

    Raises:
        InputError: a name of either side has no partner.
    """
    if len(given) == len(wanted) == 1:
        return {given[0]: wanted[0]}
    for name in given:
        if name not in wanted:
            raise InputError(
                f"data: the model has no input {name!r}; its inputs are {', '.join(wanted)}.{suggest(name, wanted)}"
            )
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(f"data: the model's inputs {missing} are missing; the data has {', '.join(given)}.")
    return {name: name for name in wanted}


def _check_input(what: str, array: Array, tensor: Tensor) -> None:
    if not _fits(array.shape[1:], tensor.shape[1:]):
        hint = ""
        if array.ndim + 1 == len(tensor.shape) and tensor.shape[-1] == 1:
            hint = " Add the last axis: array[..., None], or [column] instead of column."
        raise InputError(
            f"data: a row of {what} has shape {array.shape[1:]}, the model takes {tensor.shape[1:]}.{hint}"
        )
    texts = array.dtype.kind in "US"
    if texts != (tensor.dtype == "str"):
        example = f", e.g. {str(array.flat[0])!r}" if texts else ""
        raise InputError(f"data: {what} is {array.dtype}{example}, the model takes {tensor.dtype}. Convert it first.")
    if not texts:
        _check_cast(what, array, np.dtype(tensor.dtype))


def _check_cast(what: str, array: Array, wanted: np.dtype[Any]) -> None:
    """A cast is safe if no value changes, beyond the rounding of floats to shorter floats."""
    if array.dtype == wanted or np.can_cast(array.dtype, wanted, "safe"):
        return
    if (array.dtype.kind == "f" and wanted.kind != "f") or wanted.kind == "b":
        raise InputError(f"data: {what} is {array.dtype}, the model takes {wanted}. Convert it first.")
    for start, rows in chunks(array):
        with np.errstate(over="ignore", invalid="ignore"):
            cast = rows.astype(wanted)
        kept = np.isfinite(cast) if array.dtype.kind == "f" else cast.astype(array.dtype) == rows
        if not kept.all():
            row, *rest = (int(index[0]) for index in np.nonzero(~kept))
            raise InputError(
                f"data: {what}, row {start + row}: {rows[(row, *rest)]} does not fit into the model's {wanted}. "
                "Scale it first."
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))
