"""From one pyarrow column to one numpy array: scalars, words, lists of numbers of one length, bytes of one size."""

from typing import Any

import numpy as np

from tasks.data.columns import Part
from tasks.data.facts import Fact, Layout
from tasks.foundations.errors import InputError

Array = np.ndarray[Any, Any]


def fact_of(where: str, kind: Any) -> Fact:
    """What a typed column holds; the width of texts is not known yet.

    Args:
        where: file and column, for the sentence.
        kind: its pyarrow type.

    Raises:
        InputError: a type that no model takes.
    """
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return fact_of(where, kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return Fact("text")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return Fact("bytes")
    inner = kind
    while is_list(inner):
        inner = inner.value_type
    if types.is_decimal(inner) and inner is kind:
        return Fact("number", np.dtype("float64"))
    if types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner):
        return Fact("number" if inner is kind else "tensor", np.dtype(inner.to_pandas_dtype()))
    raise InputError(
        f"data: {where} is of type {kind}. Expected numbers, texts, lists of numbers or bytes; convert it before it is "
        "written, or name the columns to read: inputs: [...]."
    )


def is_list(kind: Any) -> bool:
    """Whether a pyarrow type is a list, of a fixed size or not."""
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def to_array(where: str, column: Any, start: int, part: Part, made: Layout) -> Array:
    """A column as numpy.

    Args:
        where: file and column, for sentences.
        column: pyarrow array, (rows,).
        start: row of the first value.
        part: what it becomes.
        made: how that is stored.

    Returns:
        (rows,), or (rows, ...) for lists and bytes.

    Raises:
        InputError: a missing value, lists of several lengths, bytes of another size than the shape.
    """
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_decimal(column.type):
        column = column.cast(pa.float64())
    _refuse_null(where, column, start, 1)
    if is_list(column.type):
        return _lists(where, column, start, made.shape)
    if types.is_binary(column.type) or types.is_large_binary(column.type) or types.is_fixed_size_binary(column.type):
        return _bytes(where, column, start, part)
    array: Array = column.to_numpy(zero_copy_only=False)
    return array.astype(made.dtype) if made.dtype.kind in "US" else array


def _refuse_null(where: str, column: Any, start: int, per_row: int) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))) // per_row
        raise InputError(
            f"data: {where}, row {start + row}: the value is missing (null). Models take no missing values; fill or "
            "drop such rows."
        )


def _lists(where: str, column: Any, start: int, shape: tuple[int, ...] | None) -> Array:
    import pyarrow.compute as pc

    found: list[int] = []
    level = column
    while is_list(level.type):
        per_row = int(np.prod(found))
        _refuse_null(where, level, start, per_row)
        lengths = pc.list_value_length(level).to_numpy(zero_copy_only=False)
        other = lengths != lengths[0]
        if other.any():
            index = int(np.argmax(other))
            raise InputError(
                f"data: {where}, row {start + index // per_row}: the list has {lengths[index]} values, row {start} has "
                f"{lengths[0]}. Every row needs as many; pad or cut them."
            )
        found.append(int(lengths[0]))
        level = level.flatten()
    _refuse_null(where, level, start, max(1, int(np.prod(found))))
    if shape is not None and int(np.prod(shape)) != int(np.prod(found)):
        raise InputError(
            f"data: {where}, row {start}: the list has {int(np.prod(found))} values, the shape {list(shape)} holds "
            f"{int(np.prod(shape))}. Correct the shape."
        )
    values: Array = level.to_numpy(zero_copy_only=False).reshape(len(column), *found)
    return values


def _bytes(where: str, column: Any, start: int, part: Part) -> Array:
    import pyarrow.compute as pc

    dtype = np.dtype(part.dtype).newbyteorder("<")
    size = int(np.prod(part.shape or ())) * dtype.itemsize
    lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
    other = lengths != size
    if other.any():
        index = int(np.argmax(other))
        raise InputError(
            f"data: {where}, row {start + index}: {lengths[index]} bytes, but the shape {list(part.shape or ())} of "
            f"{dtype.name} takes {size}. Correct shape or dtype; compressed pictures (PNG, JPEG) must be decoded first."
        )
    return np.frombuffer(b"".join(column.to_pylist()), dtype=dtype).reshape(len(column), *(part.shape or ()))
