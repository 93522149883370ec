"""From batches of columns to one `.npy` file an array, so that a table larger than memory is never whole in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.data.columns import Part
from tasks.data.facts import Fact, Layout, layout
from tasks.data.files import map_array
from tasks.data.reading import Reading
from tasks.data.tensors import to_array
from tasks.foundations.errors import InputError
from tasks.foundations.files import full_disk_said

Array = np.ndarray[Any, Any]


class Table(NamedTuple):
    """One opened file.

    Attributes:
        name: for sentences.
        names: its columns, in its order.
        rows: how many rows it has.
        batches: (columns, what they hold) -> pyarrow record batches of these columns, in the file's order.
        wide: columns that hold several values a row.
        schema: pyarrow's, where the file has types.
    """

    name: str
    names: tuple[str, ...]
    rows: int
    batches: Callable[[Sequence[str], Mapping[str, Fact]], Iterator[Any]]
    wide: frozenset[str] = frozenset()
    schema: Any = None


class Rows(NamedTuple):
    """Which rows of a table go where.

    Attributes:
        splits: names of the splits.
        codes: (rows,) index into `splits`; None: all rows are of the first.
    """

    splits: tuple[str, ...]
    codes: Array | None = None

    def counts(self, rows: int) -> dict[str, int]:
        """Rows of every split that has any."""
        if self.codes is None:
            return {self.splits[0]: rows}
        counts = np.bincount(self.codes, minlength=len(self.splits))
        return {split: int(count) for split, count in zip(self.splits, counts, strict=True) if count}


def spool(table: Table, parts: Sequence[Part], facts: Mapping[str, Fact], rows: Rows, reading: Reading) -> Any:
    """Write the arrays of every split of a table.

    Args:
        table: the opened file.
        parts: the arrays to make.
        facts: what each column holds, the same for all files of a data set.
        rows: which rows go where.
        reading: where to write.

    Returns:
        `{split: {inputs, labels, slices}}` of read-only memory maps.

    Raises:
        InputError: a value is missing, not finite, or of another shape than the first.
        SlipwayError: the disk is full.
    """
    counts = rows.counts(table.rows)
    layouts = [layout(part, facts) for part in parts]
    files = {split: [_Spool(_new(reading.scratch), made, count) for made in layouts] for split, count in counts.items()}
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    start = 0
    try:
        with full_disk_said(str(reading.scratch)):
            for batch in table.batches(columns, facts):
                codes = None if rows.codes is None else rows.codes[start : start + batch.num_rows]
                arrays = _converted(batch, start, table.name, parts, layouts)
                for split, spools in files.items():
                    chosen = slice(None) if codes is None else codes == rows.splits.index(split)
                    for array, target in zip(arrays, spools, strict=True):
                        target.write(array[chosen])
                start += batch.num_rows
    finally:
        for spools in files.values():
            for target in spools:
                target.close()
    return {split: _mapped(parts, spools, split) for split, spools in files.items()}


class _Spool:
    """A `.npy` file that grows by rows; its header is written with the first, which tell the shape."""

    def __init__(self, path: Path, made: Layout, rows: int) -> None:
        self.path = path
        self._dtype, self._rows = made.dtype, rows
        self._file = path.open("wb")
        self._begun = False

    def write(self, array: Array) -> None:
        if not self._begun:
            header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(self._file, {**header, "shape": (self._rows, *array.shape[1:])})
            self._begun = True
        self._file.write(np.ascontiguousarray(array, dtype=self._dtype).data)

    def close(self) -> None:
        self._file.close()


def _new(scratch: Path) -> Path:
    return scratch / f"column-{len(list(scratch.iterdir()))}.npy"


def _mapped(parts: Sequence[Part], spools: Sequence[_Spool], split: str) -> dict[str, Any]:
    content: dict[str, Any] = {"inputs": {}, "slices": {}}
    for part, target in zip(parts, spools, strict=True):
        array = map_array(target.path, f"{split} {part.what}")
        if part.name:
            content.setdefault(part.role, {})[part.name] = array
        else:
            content[part.role] = array
    return content


def _converted(batch: Any, start: int, file: str, parts: Sequence[Part], layouts: Sequence[Layout]) -> list[Array]:
    arrays = []
    for part, made in zip(parts, layouts, strict=True):
        columns = []
        for column in part.columns:
            where = f"{file}, column {column!r}"
            array = to_array(where, batch.column(column), start, part, made)
            columns.append(_fitting(where, array, start, made))
        array = np.stack(columns, axis=1) if part.stacked else columns[0]
        arrays.append(array.reshape(len(array), *made.shape) if made.shape is not None else array)
    return arrays


def _fitting(where: str, array: Array, start: int, made: Layout) -> Array:
    """The values in the dtype that is stored, each of them finite."""
    with np.errstate(over="ignore"):
        cast = array.astype(made.dtype, copy=False)
    if cast.dtype.kind == "f":
        bad = ~np.isfinite(cast)
        if bad.any():
            row, *rest = (int(index[0]) for index in np.nonzero(bad))
            value = array[(row, *rest)]
            expected = f"A number that fits into {made.dtype}" if np.isfinite(value) else "A finite number"
            raise InputError(
                f"data: {where}, row {start + row}: the value is {value}. Expected: {expected.lower()}; "
                "fill or drop such rows."
            )
    return cast
