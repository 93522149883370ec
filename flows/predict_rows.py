"""From a file of rows to the arrays that a model takes; what does not fit is named by file, row, column and value.

    rows.json   [row, ...] of a single input; [{input: value}, ...]; {input: [value, ...]}
    rows.npz    an array by input name; a single array feeds a single input
    rows.csv    a header; columns `<input>` or `<input>_0` and on; of a single input also all columns in their order,
                where as many as it takes and none is numbered like another input's; that is said

It is checked here, before anything is sent: a server sees neither the file nor its rows, so its words would help less.
Nothing is ever unpickled. Rows count from 0.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flows.predict_csv import read_csv
from flows.predict_values import Array, by, check, kind_of, listed, short, stack
from tasks.foundations.errors import InputError
from tasks.models import rows as data
from tasks.models.signature import Signature, TensorSpec

Inputs = dict[str, TensorSpec]
FORMS = (".json", ".npz", ".csv")
REQUESTS = ("inputs", "instances")  # what bodies of the two protocols hold


def check_file(path: Path) -> None:
    """Whether there is something to read, before anybody is asked.

    Raises:
        InputError: there is not.
    """
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{path} is no file of rows. Expected one that ends in {', '.join(FORMS)}.")
    if path.is_fifo():  # what is read from it now is gone
        return
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if empty:
        raise InputError(f"{path} is empty. Expected at least one row.")


def read(path: Path, inputs: Inputs, note: Callable[[str], None] = lambda _: None) -> dict[str, Array]:
    """Rows of a file as the model takes them.

    Args:
        path: a .json, .npz or .csv file.
        inputs: of the model, by name.
        note: is told what was taken for granted.

    Returns:
        Input -> (rows, ...) of its dtype, strings as object arrays; at least one row.

    Raises:
        InputError: the file cannot be read, or does not fit the model.
    """
    check_file(path)
    try:
        arrays = _read(path, inputs, note)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}.") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not data.count(arrays):
        raise InputError(f"{path} holds no rows. Expected at least one.")
    return arrays


def _read(path: Path, inputs: Inputs, note: Callable[[str], None]) -> dict[str, Array]:
    if path.suffix.lower() == ".csv":
        return read_csv(path, inputs, note)
    return (_read_json if path.suffix.lower() == ".json" else _read_npz)(path, inputs)


def _read_json(path: Path, inputs: Inputs) -> dict[str, Array]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}, column {error.colno}: no JSON: {error.msg}.") from error
    except RecursionError as error:
        raise InputError("lists are nested too deeply for rows.") from error
    columns = _columns_of(content, inputs)
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"the inputs have different numbers of rows: {counts}. Every input needs the same rows.")
    return {name: _of_json(name, values, inputs[name]) for name, values in columns.items()}


def _columns_of(content: Any, inputs: Inputs) -> dict[str, list[Any]]:
    """Values by input, whichever of the three forms the file has."""
    if isinstance(content, dict):
        _check_no_request(content, inputs)
        _check_names(content, inputs, "it")
        for name, values in content.items():
            if not isinstance(values, list):
                raise InputError(f"{name} is {short(values)}; expected a list with an entry for every row.")
        return {name: content[name] for name in inputs}
    if not isinstance(content, list):
        raise InputError(f"it holds {short(content)}; expected a list of rows.")
    if not content:
        return {name: [] for name in inputs}
    if isinstance(content[0], dict):
        return _columns_of_records(content, inputs)
    if len(inputs) != 1:
        raise InputError(
            f"it holds plain rows, and the model takes several inputs: {', '.join(inputs)}. Expected a list of "
            "objects with a value for each, or one object with a list for each."
        )
    return {next(iter(inputs)): content}


def _check_no_request(content: dict[str, Any], inputs: Inputs) -> None:
    """Bodies that servers take stand in the same files as curl's examples; an input may bear the same name."""
    found = [name for name in REQUESTS if name in content and (name not in inputs or _is_tensor(content[name]))]
    if found:
        raise InputError(
            f"it is the body of a request, with {found[0]!r}; `predict` takes rows. Write the rows alone, or send this "
            "file with curl."
        )


def _is_tensor(value: Any) -> bool:
    """Whether it is a list of the Open Inference Protocol's tensors."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and {"name", "data"} <= set(first)


def _columns_of_records(records: list[Any], inputs: Inputs) -> dict[str, list[Any]]:
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"row {row} is {short(record)}; expected an object of values by input, as row 0 is.")
        _check_names(record, inputs, f"row {row}")
    return {name: [record[name] for record in records] for name in inputs}


def _check_names(found: Mapping[str, Any], inputs: Inputs, what: str) -> None:
    if set(found) != set(inputs):
        raise InputError(
            f"{what} names {listed(sorted(found)) or 'nothing'}; the model takes {listed(sorted(inputs))}."
        )


def _of_json(name: str, values: list[Any], spec: TensorSpec) -> Array:
    kind = kind_of(name, spec.dtype)
    if not values:
        return np.empty((0, *(size or 0 for size in spec.shape[1:])), object)
    shape = _shape(values[0])
    if not _fits(shape, spec):
        raise InputError(f"row 0 of {name} has the shape {by(shape)}; the model takes {by(spec.shape[1:])}.")
    rows = []
    for row, value in enumerate(values):
        leaves = _flatten(value, shape)
        if leaves is None:
            like = ", as row 0 has" if row else ""  # rows that are predicted together have one shape
            raise InputError(f"row {row} of {name} is {short(value)}; expected the shape {by(shape)}{like}.")
        check(leaves, kind, lambda index, row=row: f"row {row}, {name}{_index(index, shape)}")  # type: ignore[misc]
        rows.append(leaves)
    return stack(rows, shape, spec.dtype)


def _shape(value: Any) -> tuple[int, ...]:
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    wanted = spec.shape[1:]
    return len(shape) == len(wanted) and all(
        size is None or size == found for found, size in zip(shape, wanted, strict=True)
    )


def _flatten(value: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """Its values in order; None if its nested lists are not of this shape."""
    if not shape:
        return None if isinstance(value, list) else [value]
    if not isinstance(value, list) or len(value) != shape[0]:
        return None
    parts = [_flatten(each, shape[1:]) for each in value]
    return None if None in parts else [leaf for part in parts for leaf in part or ()]


def _index(index: int, shape: tuple[int, ...]) -> str:
    return "".join(f"[{each}]" for each in np.unravel_index(index, shape)) if shape else ""


def _read_npz(path: Path, inputs: Inputs) -> dict[str, Array]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError("it is a single array, as .npy holds. Save it with np.savez(path, input=array).")
        with archive:
            found = {name: np.asarray(archive[name]) for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"it is no archive of plain arrays: {str(error).rstrip('.')}.") from error
    matched = data.match(found, Signature(inputs=inputs, outputs={}))
    for name, array in matched.items():
        _check_array(name, array, inputs[name].dtype)
    return {name: data.cast(name, array, inputs[name].dtype) for name, array in matched.items()}


def _check_array(name: str, array: Array, dtype: str) -> None:
    """Look at every value, as it stands in the file."""
    kind = kind_of(name, dtype)
    if array.dtype.kind not in "iuf" or dtype in ("str", "bool"):
        return
    wrong = np.argwhere(~((array >= kind.low) & (array <= kind.high)))  # NaN is in no range
    if len(wrong):
        row, *rest = wrong[0]
        value = array[tuple(wrong[0])]
        shown = short(float(value) if array.dtype.kind == "f" else int(value))
        raise InputError(f"row {row}, {name}{''.join(f'[{each}]' for each in rest)} is {shown}; expected {kind.words}.")
