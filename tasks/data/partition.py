"""Which split a row of one file belongs to: a column says it, or the seed draws it, evenly from every class."""

from typing import Any

import numpy as np

from tasks.data.columns import TEST_FRACTION, TableSource
from tasks.data.dataset import SPLITS
from tasks.data.reading import Reading
from tasks.data.spool import Rows, Table
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Array = np.ndarray[Any, Any]


def partition(source: TableSource, table: Table, reading: Reading) -> Rows:
    """The split of every row of a file that holds all splits.

    Raises:
        InputError: the column names something else than a split, or there are too few rows to draw from.
    """
    if source.split_column is not None:
        return _named(source.split_column, table)
    stratify = reading.task == "classification" and source.label is not None and source.label not in table.wide
    classes = _codes(source.label or "", table)[0] if stratify else np.zeros(table.rows, np.int64)
    test = drawn(classes, source.test_fraction or TEST_FRACTION, reading.seed)
    if test.all() or not test.any():
        raise InputError(
            f"data: {table.name} has {table.rows} row(s), too few to draw {source.test_fraction or TEST_FRACTION:g} of "
            "them for test. Add rows, or choose another test_fraction."
        )
    return Rows(("train", "test"), test.astype(np.int8))


def drawn(classes: Array, fraction: float, seed: int) -> Array:
    """(rows,) bool, a share of the rows, drawn at random with the same share of every class, give or take one row.

    Rows are put in order of their class, at random within it; then every 1 / fraction-th is taken.

    Args:
        classes: (rows,) integers.
        fraction: share to draw.
        seed: decides the rows.
    """
    random = np.random.default_rng((seed, 2))
    order = random.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    steps = np.floor(np.arange(len(classes) + 1) * fraction + 0.5)
    test = np.zeros(len(classes), bool)
    test[order] = np.diff(steps) > 0
    return test


def _named(column: str, table: Table) -> Rows:
    codes, words = _codes(column, table)
    for code, word in enumerate(words):
        if word not in SPLITS:
            row = int(np.argmax(codes == code))
            raise InputError(
                f"data: {table.name}, column {column!r}, row {row}: {word!r} is no split. Expected "
                f"{', '.join(SPLITS)}.{suggest(word, SPLITS)}"
            )
    return Rows(tuple(words), codes)


def _codes(column: str, table: Table) -> tuple[Array, list[str]]:
    """(rows,) index of every row's value among the distinct ones, and these as texts."""
    import pyarrow as pa

    words: dict[str, int] = {}
    codes: list[Array] = []
    for batch in table.batches([column], {}):
        encoded = batch.column(0)
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        if encoded.null_count:
            row = sum(len(part) for part in codes) + int(np.argmax(encoded.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"data: {table.name}, column {column!r}, row {row}: the value is missing. Fill it.")
        found = np.array([words.setdefault(str(word), len(words)) for word in encoded.dictionary.to_pylist()], int)
        codes.append(found[encoded.indices.to_numpy(zero_copy_only=False)])
    return np.concatenate(codes), list(words)
