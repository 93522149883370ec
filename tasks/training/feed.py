"""Batches from memory-mapped arrays, the same ones for the same seed, with memory that does not grow with the data."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tasks.foundations.maps import release

Array = np.ndarray[Any, Any]
IN_MEMORY_BYTES = 256 * 2**20  # below it rows are gathered by TensorFlow itself, without a call into Python a batch


def batches(
    arrays: Mapping[str, Array],
    labels: tuple[Array, ...],
    batch_size: int,
    arrange: Callable[[Any], Any],
    seed: int | None,
) -> Any:
    """A tf.data.Dataset of (inputs as the model takes them, labels: one tensor, or a tuple of several).

    Args:
        arrays: (rows, ...) of every input, in the dtype that the model takes.
        labels: (rows, ...) of every output that is fitted.
        batch_size: rows of every batch but the last.
        arrange: tensors by name -> the nesting that the model is called with.
        seed: a new order every epoch, the same ones for the same seed; None keeps the order.
    """
    import tensorflow as tf

    everything = {"inputs": dict(arrays), "labels": labels[0] if len(labels) == 1 else labels}
    total = sum(array.nbytes for array in (*labels, *arrays.values()))
    count = len(labels[0])
    gather = _from_tensors(everything) if total <= IN_MEMORY_BYTES else _from_maps(everything)
    steps = -(-count // batch_size)
    orders = tf.data.Dataset.from_generator(_Orders(count, seed), output_signature=tf.TensorSpec((count,), tf.int64))
    rows = orders.flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(batch_size))
    dataset = rows.map(gather).map(lambda part: (arrange(part["inputs"]), part["labels"]))
    return dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


class _Orders:
    """One order of the rows every time that it is asked, that is, once an epoch."""

    def __init__(self, rows: int, seed: int | None) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def __call__(self) -> Iterator[Array]:
        if self.seed is None:
            yield np.arange(self.rows)
            return
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        self.epoch += 1
        yield order


def _from_tensors(everything: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    tensors = tf.nest.map_structure(tf.constant, everything)
    return lambda rows: tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)


def _from_maps(everything: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    arrays = tf.nest.flatten(everything)

    def copied(wanted: Array) -> list[Array]:
        parts = [np.ascontiguousarray(array[wanted]) for array in arrays]
        for array in arrays:
            release(array)
        return parts

    def gather(rows: Any) -> Any:
        parts = tf.numpy_function(
            copied,
            [rows],
            [tf.as_dtype(array.dtype) if array.dtype.kind not in "US" else tf.string for array in arrays],
        )
        for part, array in zip(parts, arrays, strict=True):
            part.set_shape((None, *array.shape[1:]))
        return tf.nest.pack_sequence_as(everything, parts)

    return gather
