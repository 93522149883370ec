"""From rows of a data set to what a model accepts: names, shapes and dtypes checked with words, batches streamed.

Runtimes answer a wrong dtype with an internal error or, worse, with a silent cast; a person needs the name of the
input and both shapes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.session import Array, Session

_CASTS = {"f": "biuf", "i": "biu", "u": "biu", "b": "b", "c": "c"}


def match_inputs(signature: Signature, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Pair the data's arrays with the model's inputs. Looks at headers only: no row is read.

    Args:
        signature: the model's.
        arrays: data name -> (rows, ...). A single array feeds a single input whatever the names.

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


def cast_rows(name: str, rows: Array, dtype: str) -> Array:
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


def predict_rows(
    session: Session, arrays: Mapping[str, Array], batch_size: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Run the model over all rows, one batch in memory at a time.

    The last batch is smaller; a model that accepts only one batch size gets it filled up with copies of its last
    row, whose outputs are dropped.

    Args:
        session: an opened model.
        arrays: data name -> (rows, ...), memory-mapped or not.
        batch_size: rows of one call; a model with a fixed batch overrules it.

    Yields:
        (index of the first row, output name -> (batch, ...)).

    Raises:
        InputError: the data do not fit the signature.
        StepFailed: an output is not one entry a row.
    """
    matched = match_inputs(session.signature, arrays)
    rows = len(next(iter(matched.values())))
    size = session.fixed_batch or batch_size
    for start in range(0, rows, size):
        batch = take_batch(session, matched, np.arange(start, min(start + size, rows)))
        count = min(size, rows - start)
        yield start, {name: _per_row(name, output, batch)[:count] for name, output in session.run(batch).items()}


def take_batch(session: Session, matched: Mapping[str, Array], index: Array) -> dict[str, Array]:
    """The rows at `index` as the session takes them, filled up with copies of the last to its fixed batch.

    Args:
        session: an opened model.
        matched: what `match_inputs` returned.
        index: (batch,) row numbers.

    Returns:
        Model input -> (batch or fixed batch, ...) of the signature's dtype.
    """
    missing = (session.fixed_batch or len(index)) - len(index)
    if missing > 0:
        index = np.concatenate([index, np.repeat(index[-1:], missing)])
    rows: slice | Array = index
    if missing <= 0 and len(index) and index[-1] - index[0] == len(index) - 1:
        rows = slice(int(index[0]), int(index[-1]) + 1)  # a view: a memory map reads these pages only, once
    return {name: cast_rows(name, matched[name][rows], spec.dtype) for name, spec in session.signature.inputs.items()}


def _per_row(name: str, output: Array, batch: Mapping[str, Array]) -> Array:
    rows = len(next(iter(batch.values())))
    if output.ndim == 0 or len(output) != rows:
        raise StepFailed(
            f"Output {name!r} has shape {output.shape} for a batch of {rows} rows; its first one must be the rows."
        )
    return output


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
