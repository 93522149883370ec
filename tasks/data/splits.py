"""The splits that a user may leave out, chosen from train by seed so that a repeated release sees the same rows."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from tasks.data.chunks import chunks
from tasks.data.returned import Array, Table
from tasks.foundations.errors import InputError

CALIBRATION_ROWS = 512
MIXER = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying by it loses nothing


class Selection(NamedTuple):
    """Rows of a table, not copied: train may be a memory map that is larger than memory. None means all."""

    table: Table
    rows: Array | None = None


def complete(tables: dict[str, Table], seed: int) -> tuple[dict[str, Selection], list[str]]:
    """Add validation (a tenth of train, taken out of it) and calibration (512 rows of train that test does not hold).

    Args:
        tables: the given splits.
        seed: decides the rows.

    Returns:
        All splits, and warnings.

    Raises:
        InputError: train is too small to give a validation row, or calibration shares rows with test.
    """
    done = {name: Selection(table) for name, table in tables.items()}
    warnings = []
    test = row_hashes(tables["test"])
    if "calibration" in tables:
        _refuse_shared(tables["calibration"], test)
    if "train" in tables:
        repeated = np.isin(row_hashes(tables["train"]), test)
        if repeated.any():
            warnings.append(
                f"{int(repeated.sum())} of {len(repeated)} train rows stand in test too: its accuracy flatters"
            )
        if "calibration" not in tables:
            done["calibration"] = _calibration(tables["train"], repeated, seed)
        if "validation" not in tables:
            done["train"], done["validation"] = _tenth(tables["train"], seed)
    return done, warnings


def row_hashes(table: Table) -> Array:
    """(rows,) uint64: blake2b over each row of every input; labels do not count."""
    total = np.zeros(table.rows, np.uint64)
    for array in table.inputs.values():
        digests = [hashlib.blake2b(_content(row), digest_size=8).digest() for _, rows in chunks(array) for row in rows]
        total = total * MIXER + np.frombuffer(b"".join(digests), dtype="<u8")
    return total


def _content(row: Any) -> bytes:
    """Strings are padded to their array's width, which may differ between splits."""
    content: bytes = row.tobytes()
    return "\0".join(map(str, np.ravel(row))).encode() if row.dtype.kind in "US" else content


def _refuse_shared(calibration: Table, test: Array) -> None:
    hashes = row_hashes(calibration)
    shared = np.isin(hashes, test)
    if shared.any():
        row = int(np.argmax(shared))
        twin = int(np.argmax(test == hashes[row]))
        raise InputError(
            f"data: calibration row {row} is test row {twin} again ({int(shared.sum())} such rows). Quantization "
            "would be tuned on what judges it; calibrate on other rows, or leave the split out to use train rows."
        )


def _calibration(train: Table, repeated: Array, seed: int) -> Selection:
    usable = np.flatnonzero(~repeated)
    if not len(usable):
        raise InputError(
            "data: every train row stands in test too, so there is nothing to calibrate on. "
            "Split the rows into train and test without repeating any."
        )
    chosen = np.random.default_rng((seed, 1)).permutation(usable)[:CALIBRATION_ROWS]
    return Selection(train, np.sort(chosen))


def _tenth(train: Table, seed: int) -> tuple[Selection, Selection]:
    if train.rows < 2:
        raise InputError("data: train has 1 row, so no row is left for validation. Add rows, or give 'validation'.")
    order = np.random.default_rng((seed, 0)).permutation(train.rows)
    count = max(1, train.rows // 10)
    return Selection(train, np.sort(order[count:])), Selection(train, np.sort(order[:count]))
