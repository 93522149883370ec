"""What a SavedModel gives for rows: the truth that every other form of it is compared with when it is made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.models.rows import batches
from tasks.models.saved_model import ENDPOINT
from tasks.models.signature import Signature

BATCH_SIZE = 32

Array = np.ndarray[Any, Any]


def run(folder: Path, arrays: Mapping[str, Array], signature: Signature, rows: int) -> dict[str, Array]:
    """Outputs by name for the first `rows` rows.

    Args:
        folder: `saved_model/`.
        arrays: model input -> (all rows, ...).
        signature: of the model.
        rows: how many.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    infer = loaded.signatures[ENDPOINT]
    parts = [
        infer(**{name: tf.constant(array) for name, array in feed.items()})
        for feed in batches(arrays, signature, rows, BATCH_SIZE)
    ]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in signature.outputs}
