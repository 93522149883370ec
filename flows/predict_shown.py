"""What `predict` found, for people and as a file."""

import csv
import io
import json
import math
import re
import shutil
import uuid
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.files import write_whole

Array = np.ndarray[Any, Any]
Parts = dict[str, list[Array]]
ROWS = 10
CLASSES = 3  # a row of fewer scores is read at a glance
VALUES = 4  # of a row of logits; of a longer one the largest is what people look for
SUM_TO_1 = 1e-3  # how far probabilities of a narrow dtype may be from it
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


def plain(array: Array) -> list[Any]:
    """Lists of its values. Of narrow floats those that are written shortest among all that are read as the same.

    0.7105678 and 0.7105677723884583 are one float32; the second says digits that nobody has computed.
    """
    if array.dtype.kind != "f" or array.dtype.itemsize >= np.dtype(np.float64).itemsize:
        values: list[Any] = array.tolist()
        return values
    shortest = array.astype(str).astype(np.float64)
    values = np.where(shortest.astype(array.dtype) == array, shortest, array.astype(np.float64)).tolist()
    return values


def text(content: dict[str, Any], parts: Parts, how: str, output: Path | None) -> str:
    """A table of the first rows, no wider than the terminal where a column of several values can be cut."""
    rows, versions = content["rows"], content.get("versions", [content["version"]])
    count = "1 row" if rows == 1 else f"{rows} rows"
    head = f"{content['model']} version {' then '.join(map(str, versions))}: {count} by {how}"
    columns = [_column(name, arrays, content["outputs"][name][:ROWS]) for name, arrays in parts.items()]
    lines = _lines([Column("row", [[str(row)] for row in range(min(rows, ROWS))]), *columns])
    more = [f"... and {rows - ROWS} more; --output FILE takes all"] if rows > ROWS and output is None else []
    written = [f"all {count} in {output}"] if output is not None else []
    return "\n".join([head, *lines, *more, *written])


@dataclass(frozen=True)
class Column:
    """Of the table.

    Attributes:
        title: over it.
        cells: row -> words, each as long as the words above and below it.
    """

    title: str
    cells: list[list[str]]

    def wide(self) -> int:
        """Characters of the whole column."""
        return max(len(self.title), *(len(" ".join(words)) for words in self.cells))

    def cut(self, width: int) -> list[str]:
        """A line for every row, of as many words as there is room for, but at least one."""
        return [self._cut(words, width) for words in self.cells]

    def _cut(self, words: list[str], width: int) -> str:
        line = " ".join(words)
        if len(line) <= width or len(words) < 2:
            return line
        ends = accumulate(len(word) + 1 for word in words)
        return " ".join([*words[: max(1, sum(end + len("...") <= width for end in ends))], "..."])


def _lines(columns: list[Column]) -> list[str]:
    several = [any(len(words) > 1 for words in column.cells) for column in columns]
    wides = [column.wide() for column in columns]
    room = shutil.get_terminal_size().columns - len("  ") * (len(columns) - 1)
    room -= sum(wide for wide, is_several in zip(wides, several, strict=True) if not is_several)
    share = _share([wide for wide, is_several in zip(wides, several, strict=True) if is_several], room)
    table = [[column.title, *column.cut(share)] for column in columns]
    sizes = [max(map(len, cells)) for cells in table]
    titles = [
        cells[0].ljust(size) if left else cells[0] for cells, size, left in zip(table, sizes, several, strict=True)
    ]
    lines = [titles, *zip(*(cells[1:] for cells in table), strict=True)]
    return ["  ".join(map(str.rjust, line, sizes)).rstrip() for line in lines]


def _share(wides: list[int], room: int) -> int:
    """What each column may have at most: what narrow ones leave is for the wider ones."""
    share = room
    for left, wide in zip(range(len(wides), 0, -1), sorted(wides), strict=True):
        share = room // left
        if wide > share:
            break
        room -= wide
    return share


def _column(name: str, arrays: list[Array], values: list[Any]) -> Column:
    """Of a row with a score for every class the place of the largest, else the values."""
    if _are_scores(name, arrays):
        places = [max(range(len(row)), key=row.__getitem__) for row in values]
        largest = _words([row[place] for row, place in zip(values, places, strict=True)])
        cells = [[f"{place} ({word.strip()})"] for place, word in zip(places, largest, strict=True)]
        return Column(f"largest of {name}", cells)
    most = shutil.get_terminal_size().columns + 1  # so many never fit, and an image has thousands
    flat = [_flat(value)[:most] for value in values]
    places_of = [_words([row[place] for row in flat if place < len(row)]) for place in range(max(map(len, flat)))]
    queues = [iter(words) for words in places_of]
    return Column(name, [[next(queues[place]) for place in range(len(row))] for row in flat])


def _are_scores(name: str, arrays: list[Array]) -> bool:
    """Whether every row tells how likely each class is: by its values, or by its name where they are many."""
    if any(array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] < CLASSES for array in arrays):
        return False
    if re.search(r"(^|[_/.])logits$", name, re.IGNORECASE):
        return all(array.shape[1] > VALUES for array in arrays)  # fewer are shown as they are
    return all(
        ((array >= 0) & (array <= 1)).all() and (abs(array.sum(1, dtype=np.float64) - 1) <= SUM_TO_1).all()
        for array in arrays
    )


def _flat(value: Any) -> list[Any]:
    flat = value if isinstance(value, list) else [value]
    while flat and isinstance(flat[0], list):
        flat = [each for part in flat for each in part]
    return flat


def _words(values: list[Any]) -> list[str]:
    """Values that stand below each other, equally long; numbers have their points below each other."""
    form = _form(values) if values and isinstance(values[0], float) else None
    words = [format(value, form) if form else _word(value) for value in values]
    width = max(map(len, words), default=0)
    return [word.rjust(width) for word in words]


def _form(numbers: list[float]) -> str:
    """Four digits of the largest, and as many decimals of the others; powers of ten where that is no help."""
    most = max(map(abs, numbers))
    if most and not 1e-3 <= most < 1e7:
        return ".3e"
    decimals = 4 if most < 1 else max(0, 4 - len(str(int(most))))
    needed = max(len(f"{number:.{decimals}f}".partition(".")[2].rstrip("0")) for number in numbers)
    return f"z.{needed}f"  # z: without the sign of what is rounded to 0


def _word(value: Any) -> str:
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
    flat = [plain(array.reshape(len(array), -1)) for array in arrays.values()]
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
