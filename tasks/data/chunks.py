"""Rows of arrays that may be memory maps larger than memory, a few at a time, and let go of afterwards."""

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CHUNK_BYTES = 16 * 2**20


def chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """(index of the first row, (k, ...) rows), each of about `CHUNK_BYTES`."""
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    step = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step])  # rows of a plain array are cheaper than of a map
        release(array)


def release(array: Array) -> None:
    """Let go of the pages of a memory map that were read: they stay in the system's cache, not in this process.

    A map of mode `c` keeps its changes nowhere else, so it is left alone.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode not in ("r", "r+"):
            return
        base = base.base
    if isinstance(base, mmap.mmap):
        with contextlib.suppress(ValueError, OSError):  # closed, or the system will not part with it
            base.madvise(mmap.MADV_DONTNEED)
