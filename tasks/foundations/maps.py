"""Memory maps that are read once, from one end to the other: a process that keeps no page of them stays small.

The system would take the pages back when memory gets short, but until then they count as the process's own.
"""

import contextlib
import mmap
from typing import Any

import numpy as np


def release(array: np.ndarray[Any, Any]) -> None:
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
