"""Importing large libraries: what is imported lives as long as the process, so looking for garbage in it is in vain.

TensorFlow makes a million objects. Collecting while it is imported costs a quarter of its time, and every later full
collection (Keras runs one whenever it clears its session) looks through all of them again: 0.2 s.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Collect nothing during the block, and never what exists at its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
