"""Rows of arrays that may be memory maps larger than memory, a few at a time, and let go of afterwards."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.foundations.maps import release

Array = np.ndarray[Any, Any]
CHUNK_BYTES = 16 * 2**20


def chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """(index of the first row, (k, ...) rows), each of about `CHUNK_BYTES`."""
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    step = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step])  # rows of a plain array are cheaper than of a map
        release(array)
