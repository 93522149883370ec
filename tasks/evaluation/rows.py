"""Rows of one array or of several by name, so that tasks with several outputs take the same way as all others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = Array | Mapping[str, Array]


def take(arrays: Arrays, rows: Array) -> Arrays:
    """Some rows, in the form that the arrays have."""
    if isinstance(arrays, Mapping):
        return {name: np.asarray(array)[rows] for name, array in arrays.items()}
    return np.asarray(arrays)[rows]


def count(arrays: Arrays) -> int:
    """How many rows; 0 of what has none."""
    return min((len(array) if np.ndim(array) else 0 for array in named(arrays).values()), default=0)


def named(arrays: Arrays) -> dict[str, Array]:
    """Name -> array; a single array has no name."""
    return dict(arrays) if isinstance(arrays, Mapping) else {"": np.asarray(arrays)}


def equal(some: Arrays, others: Arrays) -> bool:
    """Whether both hold the same numbers, bit for bit."""
    ours, theirs = named(some), named(others)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def row_bytes(arrays: Arrays) -> int:
    """Bytes of one row of all arrays together, at least 1."""
    return max(1, sum(array.nbytes for array in named(arrays).values()) // max(1, count(arrays)))


def single(arrays: Arrays) -> Array:
    """The one array of a task that reads one output."""
    assert not isinstance(arrays, Mapping)  # noqa: S101 - only custom tasks have several
    return np.asarray(arrays)
