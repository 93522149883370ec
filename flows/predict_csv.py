"""Rows of a csv file as a model takes them: every column belongs to an input, by its name or by its place."""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flows.predict_values import Array, by, check, kind_of, listed, short, stack
from tasks.foundations.errors import InputError
from tasks.models.signature import TensorSpec

Inputs = dict[str, TensorSpec]


def read_csv(path: Path, inputs: Inputs, note: Callable[[str], None]) -> dict[str, Array]:
    """Input -> (rows, ...) of its dtype.

    Args:
        path: the file.
        inputs: of the model, by name.
        note: is told what was taken for granted.

    Raises:
        InputError: the file has no header, columns that belong to no input, or cells that are no values of one.
        UnicodeDecodeError, OSError: it is no UTF-8 text, or cannot be read.
    """
    header, lines = _table(path)
    chosen = _choose(header, inputs, note)
    return {name: _of_csv(name, inputs[name], header, positions, lines) for name, positions in chosen.items()}


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and (number of the line, cells) of every row."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            lines = [(reader.line_num, cells) for cells in reader if cells]
        except csv.Error as error:
            raise InputError(f"line {reader.line_num}: {error}.") from error
    if not lines:
        raise InputError("it is empty. Expected a header and at least one row.")
    (_, header), *rows = lines
    header = [name.strip() for name in header]
    _check_header(header)
    for row, (line, cells) in enumerate(rows):
        if len(cells) != len(header):
            raise InputError(f"row {row} (line {line}) has {len(cells)} columns; the header has {len(header)}.")
    return header, rows


def _check_header(header: list[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(f"the header names {twice[0]!r} more than once. Every column needs a name of its own.")
    counted = header == [str(index) for index in range(len(header))]  # what pandas writes for columns without names
    if not counted and all(isinstance(_parsed(name, "f"), float) for name in header):
        raise InputError(f"its first line holds numbers ({short(header[0])}, ...). Expected a header with names.")


def _choose(header: list[str], inputs: Inputs, note: Callable[[str], None]) -> dict[str, list[int]]:
    """Input -> positions of its columns; every column belongs to one."""
    names = {name: _column_names(name, spec, header) for name, spec in inputs.items()}
    if len(inputs) == 1:
        ((name, spec),) = inputs.items()
        if not set(names[name]) & set(header):
            _check_count(name, spec, header)
            _check_others(name, header)
            note(f"column{'s' * (len(header) > 1)} {listed(header)} taken in this order as {name}")
            return {name: list(range(len(header)))}
    missing = [column for columns in names.values() for column in columns if column not in header]
    if missing:
        raise InputError(f"there is no column {missing[0]!r}. The columns are {listed(header)}.")
    strange = set(header) - {column for columns in names.values() for column in columns}
    if strange:
        raise InputError(
            f"no input takes the column {listed(sorted(strange, key=header.index))}; the model takes "
            f"{listed(list(inputs))}. Leave it out of the file."
        )
    return {name: [header.index(column) for column in columns] for name, columns in names.items()}


def _column_names(name: str, spec: TensorSpec, header: list[str]) -> list[str]:
    size = _size(name, spec)
    return [name] if size == 1 and f"{name}_0" not in header else [f"{name}_{index}" for index in range(size)]


def _size(name: str, spec: TensorSpec) -> int:
    sizes = [size for size in spec.shape[1:] if size is not None]
    if len(sizes) < len(spec.shape) - 1:
        raise InputError(
            f"input {name} takes rows of the shape {by(spec.shape[1:])}, and columns cannot say how long a free part "
            "is. Use .json or .npz."
        )
    return math.prod(sizes)


def _check_count(name: str, spec: TensorSpec, header: list[str]) -> None:
    wanted = _size(name, spec)
    surplus = len(header) - wanted
    if not surplus:
        return
    stems = [re.sub(r"\d+$", "", column) for column in header]
    usual = Counter(stems).most_common(1)[0][0]
    odd = [column for column, stem in zip(header, stems, strict=True) if stem != usual]
    hint = f"Leave out {listed(odd)}: no other column is named so. " if 0 < len(odd) == surplus else ""
    raise InputError(
        f"it has {len(header)} columns, and input {name} takes {wanted} numbers a row, {by(spec.shape[1:])}. {hint}The "
        f"columns are {listed(header)}."
    )


def _check_others(name: str, header: list[str]) -> None:
    """Columns numbered like those of an input belong to that one; `pixel_0_1`, a place in a grid, names none."""
    numbered = [column for column in header if re.fullmatch(r".*[^\W\d]_\d+", column)]
    if numbered:
        other = numbered[0].rpartition("_")[0]
        raise InputError(
            f"column {numbered[0]} looks like one of an input {other}, and the model takes {name}. If it is meant, "
            f"name the columns {name}_0 and on."
        )


def _of_csv(
    name: str, spec: TensorSpec, header: list[str], positions: list[int], lines: list[tuple[int, list[str]]]
) -> Array:
    kind = kind_of(name, spec.dtype)
    letter = "U" if spec.dtype == "str" else np.dtype(spec.dtype).kind
    rows = []
    for row, (line, cells) in enumerate(lines):
        values = [_parsed(cells[position], letter) for position in positions]
        place = f"row {row} (line {line}), column "
        check(values, kind, lambda index, place=place: place + header[positions[index]])  # type: ignore[misc]
        rows.append(values)
    return stack(rows, tuple(size for size in spec.shape[1:] if size is not None), spec.dtype)


def _parsed(text: str, letter: str) -> Any:
    """The value of a cell, or its text where it is none of this kind of dtype; then it is refused as what it is."""
    if letter == "U":
        return text
    word = text.strip().lower()
    if word in ("true", "false"):
        return word == "true"
    try:
        return text if "_" in text or letter == "b" else float(text) if letter == "f" else int(text)
    except ValueError:
        return text
