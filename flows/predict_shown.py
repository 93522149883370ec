"""What `predict` found, for people and as a file."""

import csv
import io
import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.files import write_whole

Array = np.ndarray[Any, Any]
Parts = dict[str, list[Array]]
ROWS = 10
VALUES = 4  # of a row; of a longer one the largest is what people look for
CHARACTERS = 32
FORMS = (".json", ".npz", ".csv")


def check_place(path: Path) -> None:
    """Whether answers can go there, before anybody is asked.

    Raises:
        InputError: they cannot.
    """
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{path} is no file for answers. Expected one that ends in {', '.join(FORMS)}.")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")


def write(path: Path, content: dict[str, Any], parts: Parts) -> None:
    """Write the answers in the form that the name asks for, whole or not at all.

    Raises:
        SlipwayError: it cannot be written, or the rows of an output do not fit in one array.
    """
    try:
        if path.suffix.lower() == ".json":
            write_whole(path, json.dumps(content, allow_nan=False) + "\n")
        elif path.suffix.lower() == ".csv":
            write_whole(path, _csv(_joined(parts)))
        else:
            _write_npz(path, _joined(parts))
    except OSError as error:
        raise SlipwayError(f"{path} cannot be written: {error.strerror}.") from error


def text(content: dict[str, Any], parts: Parts, how: str, output: Path | None) -> str:
    """A table of the first rows."""
    rows, versions = content["rows"], content.get("versions", [content["version"]])
    count = "1 row" if rows == 1 else f"{rows} rows"
    head = f"{content['model']} version {' then '.join(map(str, versions))}: {count} by {how}"
    shown = [_column(name, arrays, content["outputs"][name][:ROWS]) for name, arrays in parts.items()]
    table = [["row", *(title for title, _ in shown)]]
    table += [[str(row), *(cells[row] for _, cells in shown)] for row in range(min(rows, ROWS))]
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    more = [f"... and {rows - ROWS} more; --output FILE takes all"] if rows > ROWS and output is None else []
    written = [f"all {count} in {output}"] if output is not None else []
    return "\n".join([head, *lines, *more, *written])


def _column(name: str, arrays: list[Array], values: list[Any]) -> tuple[str, list[str]]:
    """Title and cells; of a row with many scores the place of the largest, which is the class of a classifier."""
    first = arrays[0]
    if first.ndim == 2 and first.dtype.kind == "f" and first.shape[1] > VALUES:
        places = [max(range(len(row)), key=row.__getitem__) for row in values]
        return f"largest of {name}", [
            f"{place} ({_word(row[place])})" for row, place in zip(values, places, strict=True)
        ]
    return name, [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if not isinstance(value, list):
        return _word(value)
    flat = value
    while flat and isinstance(flat[0], list):
        flat = [each for part in flat for each in part]
    words = " ".join(_word(each) for each in flat[:VALUES])
    return words if len(flat) <= VALUES else f"{words} ... of {len(flat)}"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    word = str(value) if not isinstance(value, str) else repr(value)
    return word if len(word) <= CHARACTERS else f"{word[:CHARACTERS]}..."


def _joined(parts: Parts) -> dict[str, Array]:
    joined = {}
    for name, arrays in parts.items():
        shapes = {array.shape[1:] for array in arrays}
        if len(shapes) > 1:
            raise SlipwayError(
                f"The rows of {name} have different shapes, {' and '.join(map(str, sorted(shapes)))}: they fit in no "
                "single array. Write them as .json."
            )
        joined[name] = np.concatenate(arrays)
    return joined


def _csv(arrays: dict[str, Array]) -> str:
    """A header, and a line for every row; outputs of several values are `<output>_0` and on."""
    columns: list[str] = []
    for name, array in arrays.items():
        size = math.prod(array.shape[1:])
        columns += [name] if array.ndim == 1 else [f"{name}_{index}" for index in range(size)]
    flat = [array.reshape(len(array), -1).tolist() for array in arrays.values()]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([value for part in row for value in part] for row in zip(*flat, strict=True))
    return stream.getvalue()


def _write_npz(path: Path, arrays: dict[str, Array]) -> None:
    aside = path.parent / f".{uuid.uuid4().hex}.npz"
    try:
        with aside.open("xb") as stream:
            plain = {name: array.astype(str) if array.dtype.kind == "O" else array for name, array in arrays.items()}
            np.savez(stream, **plain)  # type: ignore[arg-type]
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
