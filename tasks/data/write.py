"""The job that reads the user's data, checks all of it and writes it as `.npy` files.

Same content gives the same bytes, so the folder's digest is the key of everything that follows from the data.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.data.check import check_against_signature, check_finite, match_names
from tasks.data.check_labels import (
    Task,
    check_classes,
    check_label_names,
    check_labels,
    constant_labels,
    missing_in_calibration,
)
from tasks.data.chunks import CHUNK_BYTES
from tasks.data.dataset import FILE, SPLITS
from tasks.data.expected import Expected
from tasks.data.labels import encode
from tasks.data.reading import Reading
from tasks.data.returned import Array, Table, tables
from tasks.data.splits import Selection, complete
from tasks.foundations import menu
from tasks.foundations.maps import release
from tasks.foundations.record import Record

if TYPE_CHECKING:
    Source = Any
else:
    Source = menu.union("tasks.data.sources")


class ReadRequest(Record):
    """What to read and what it is for.

    Attributes:
        source: a choice of `tasks.data.sources`.
        folder: absolute path of the config's folder.
        task: what the labels mean.
        judged: the output that they belong to, None for the first.
        seed: decides the rows of splits that are left out.
        out: absolute path of an empty folder.
        needs_train: False for a model that comes trained.
        classes: names of the classes in the order of their integers; empty: words are numbered in sorted order. Of a
            multilabel task, names of the labels in the order of their columns.
        signature: the model's signature; the inputs are checked against it and written in its dtypes. None for data
            without a model: nothing is checked against one, floats are written as float32.
    """

    source: Source
    folder: str
    task: Task
    seed: int
    out: str
    needs_train: bool = True
    classes: tuple[str, ...] = ()
    judged: str | None = None
    signature: Expected | None = None


class ReadResult(Record):
    """What was written.

    Attributes:
        rows: rows of every split.
        classes: distinct classes over all splits, 0 for tasks without.
        class_names: of the classes in the order of their integers; empty where they have none.
        source_digest: sha256 over the user's data code.
        warnings: sentences for the user.
    """

    rows: dict[str, int]
    classes: int
    class_names: tuple[str, ...] = ()
    source_digest: str
    warnings: tuple[str, ...] = ()


def read_data(request: ReadRequest) -> ReadResult:
    """Read, check, complete and write a data set.

    Raises:
        InputError: the user's code raised, or the data is not usable; the sentence names split, column and row.
    """
    out = Path(request.out)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=out) as scratch:
        return _read(request, out, Path(scratch))


def _read(request: ReadRequest, out: Path, scratch: Path) -> ReadResult:
    folder = Path(request.folder)
    reading = Reading(folder, scratch, request.seed, request.task)
    expected = request.signature.model_copy(update={"judged": request.judged}) if request.signature else None
    width = expected.width if expected else None
    found = tables(request.source.read(reading), request.needs_train)
    check_label_names(found["test"], request.task, expected)
    given, names = encode(found, request.task, request.classes, width)
    classes, warnings = _check(given, request, width, names)
    selections, more = complete(given, request.seed)
    if request.task == "classification":
        more += missing_in_calibration(_labels(selections["calibration"]), classes, names)
    if request.task == "multilabel":
        more += constant_labels(given["test"].labels, names)
    dtypes = _dtypes(given["test"], request.signature)
    described = {
        split: _write_split(selections[split], dtypes, request.task, out / split)
        for split in SPLITS
        if split in selections
    }
    content = {"splits": described, **({"classes": names} if names else {})}
    (out / FILE).write_text(json.dumps(content, indent=2) + "\n")
    return ReadResult(
        rows={split: content["rows"] for split, content in described.items()},
        classes=len({value for values in classes.values() for value in values}),
        class_names=names,
        source_digest=request.source.source_digest(folder),
        warnings=(*warnings, *more),
    )


def _check(
    given: Mapping[str, Table], request: ReadRequest, width: int | None, names: tuple[str, ...]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    classes: dict[str, tuple[int, ...]] = {}
    for split, table in given.items():
        for name, array in table.inputs.items():
            check_finite(f"{split} input {name!r}", array)
        if request.signature:
            check_against_signature(table, request.signature, split)
        for what, labels in table.targets.items():
            classes[split] = check_labels(f"{split} {what}", labels, request.task, _width(width, names), names)
    return classes, check_classes(classes, names) if request.task == "classification" else []


def _width(width: int | None, names: tuple[str, ...]) -> int | None:
    return len(names) if names and not width else width


def _labels(selection: Selection) -> Array:
    table, rows = selection
    return table.labels if rows is None else table.labels[rows]


def _dtypes(table: Table, expected: Expected | None) -> dict[str, np.dtype[Any] | None]:
    """Dtype on disk of every input, None for strings, which keep theirs."""
    if expected:
        partners = match_names(tuple(table.inputs), tuple(expected.inputs))
        wanted = {name: expected.inputs[partner].dtype for name, partner in partners.items()}
        return {name: None if dtype == "str" else np.dtype(dtype) for name, dtype in wanted.items()}
    return {name: np.dtype("float32") if a.dtype.kind == "f" else None for name, a in table.inputs.items()}


def _write_split(
    selection: Selection, dtypes: Mapping[str, np.dtype[Any] | None], task: Task, folder: Path
) -> dict[str, Any]:
    table, rows = selection
    (folder / "inputs").mkdir(parents=True)
    described: dict[str, Any] = {
        "rows": table.rows if rows is None else len(rows),
        "inputs": {
            name: write_array(folder / "inputs" / f"{name}.npy", array, rows, dtypes[name])
            for name, array in table.inputs.items()
        },
        **_write_labels(table, rows, task, folder),
        "slices": {},
    }
    for name, array in table.slices.items():
        (folder / "slices").mkdir(exist_ok=True)
        described["slices"][name] = write_array(folder / "slices" / f"{name}.npy", array, rows, None)
    return described


def _write_labels(table: Table, rows: Array | None, task: Task, folder: Path) -> dict[str, Any]:
    if not table.by_output:
        dtype = _label_dtype(table.labels, task)
        return {"labels": write_array(folder / "labels.npy", table.labels, rows, dtype)}
    (folder / "labels").mkdir()
    return {
        "targets": {
            name: write_array(folder / "labels" / f"{name}.npy", array, rows, _label_dtype(array, task))
            for name, array in table.by_output.items()
        }
    }


def _label_dtype(labels: Array, task: Task) -> np.dtype[Any] | None:
    """Integers for classes; numbers as losses take them; what only a metric of the user's own reads, as it is."""
    if task == "custom":
        return None
    if task == "classification":
        return np.dtype("int64")
    if task == "multilabel":
        return np.dtype("float32")
    return labels.dtype if labels.dtype.kind == "f" else np.dtype("float64")


def write_array(path: Path, array: Array, rows: Array | None, dtype: np.dtype[Any] | None) -> dict[str, Any]:
    """Write an array, or some rows of it, as `.npy` in chunks, so that memory stays flat for memory maps.

    Args:
        path: file to write.
        array: (n, ...).
        rows: indices of the rows to write, None for all.
        dtype: dtype on disk; None keeps the array's own, in native byte order.

    Returns:
        `dtype` (numpy's name, `str` for strings) and `shape` of what was written.
    """
    count = len(array) if rows is None else len(rows)
    shape = (count, *array.shape[1:])
    kind = (dtype or array.dtype).newbyteorder("<")
    step = max(1, CHUNK_BYTES // max(1, kind.itemsize * int(np.prod(shape[1:]))))
    if rows is not None:
        step = max(1, step // 8)  # rows that lie apart bring in what lies around them
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        )
        for start in range(0, count, step):
            part = array[start : start + step] if rows is None else array[rows[start : start + step]]
            file.write(np.ascontiguousarray(part, dtype=kind).tobytes())
            release(array)
    return {"dtype": "str" if kind.kind in "US" else kind.name, "shape": list(shape)}
