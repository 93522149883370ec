"""From the labels a user has to those a model learns from: words and one-hot rows become integer classes 0, 1, 2, ...

The words are kept, so that whoever shows a class can name it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.data.chunks import chunks
from tasks.data.returned import Array, Table
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

MOST_LISTED = 10


class Encoded(NamedTuple):
    """Splits whose labels a model can learn from.

    Attributes:
        tables: split -> table.
        names: of the classes, in the order of their integers; empty where they have none.
    """

    tables: dict[str, Table]
    names: tuple[str, ...] = ()


def encode(tables: Mapping[str, Table], task: str, names: tuple[str, ...], width: int | None) -> Encoded:
    """Labels as the task needs them; what is not understood is left for `check_labels`.

    Args:
        tables: split -> table.
        task: kind of the task.
        names: the config's names of the classes, in the order of their integers; empty if it names none.
        width: size of the model's output, None if not known.

    Raises:
        InputError: a word that is no class, one-hot rows that are not exactly that, more names than the model's output
            has classes.
    """
    encoder = ENCODERS.get(task)
    return encoder(dict(tables), names, width) if encoder else Encoded(dict(tables))


def _classes(tables: dict[str, Table], names: tuple[str, ...], width: int | None) -> Encoded:
    count = 2 if width == 1 else width
    if names and count is not None and len(names) != count:
        raise InputError(
            f"data: task.classes names {len(names)} classes ({listed(names)}), the model's output tells {count} apart. "
            "Name every class, in the order of the outputs."
        )
    flat = {split: table._replace(labels=_flat(split, table.labels)) for split, table in tables.items()}
    if not any(table.labels.dtype.kind in "US" and table.labels.ndim == 1 for table in flat.values()):
        return Encoded(flat, names)
    _refuse_mixed(flat)
    known = names or _distinct([flat["train"]] if "train" in flat else flat.values())
    if count is not None and len(known) > count:
        raise InputError(
            f"data: the labels are {len(known)} different words ({listed(known)}), the model's output tells {count} "
            "classes apart. Is a word misspelt, or the model's last layer too narrow?"
        )
    source = "task.classes" if names else "train" if "train" in flat else "the data"
    return Encoded({split: _numbered(split, table, known, source) for split, table in flat.items()}, known)


def _named(tables: dict[str, Table], names: tuple[str, ...], width: int | None) -> Encoded:
    """Labels of several columns need no numbers; the config's names are those of the columns."""
    return Encoded(tables, names)


ENCODERS: dict[str, Callable[[dict[str, Table], tuple[str, ...], int | None], Encoded]] = {
    "classification": _classes,
    "multilabel": _named,
}


def listed(names: Iterable[Any]) -> str:
    """The first few of some names."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    return ", ".join(shown[:MOST_LISTED]) + more


def _flat(split: str, labels: Array) -> Array:
    """(rows,) of one-hot rows; anything else as it is."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return labels
    classes = np.empty(len(labels), np.int64)
    for start, rows in chunks(labels):
        ones = (rows == 1).sum(axis=1)
        good = (ones == 1) & (np.count_nonzero(rows, axis=1) == 1)
        if not good.all():
            index = int(np.argmin(good))
            raise InputError(_not_one_hot(split, start + index, rows[index], labels.shape))
        classes[start : start + len(rows)] = rows.argmax(axis=1)
    return classes


def _not_one_hot(split: str, row: int, values: Array, shape: tuple[int, ...]) -> str:
    shown = f"[{listed(values)}]"
    where = f"data: {split} labels have shape {shape}, and row {row} is {shown}"
    if bool(((values >= 0) & (values <= 1)).all()) and np.isclose(values.sum(dtype=np.float64), 1, atol=1e-3):
        return (
            f"{where}: it shares one label out among classes. A classification learns from one class a row: give "
            "labels.argmax(axis=1) if the largest share is what is meant, or the shares to a task: {kind: custom}."
        )
    return (
        f"{where}. Several labels a row must be one-hot: a single 1 among zeros. One class a row is expected, (rows,) "
        "integers or words. For several labels at once, 0 or 1 in each column, write task: {kind: multilabel}; for "
        "labels of sequences (one a time step), {kind: custom}."
    )


def _refuse_mixed(tables: Mapping[str, Table]) -> None:
    kinds = {split: table.labels.dtype.kind in "US" for split, table in tables.items()}
    if len(set(kinds.values())) > 1:
        words = next(split for split, text in kinds.items() if text)
        numbers = next(split for split, text in kinds.items() if not text)
        raise InputError(
            f"data: {words} labels are words, {numbers} labels are {tables[numbers].labels.dtype}. "
            "Every split needs the same kind of labels."
        )


def _distinct(tables: Iterable[Table]) -> tuple[str, ...]:
    found: set[str] = set()
    for table in tables:
        if table.labels.ndim == 1:
            for _, rows in chunks(table.labels):
                found.update(_texts(np.unique(rows)).tolist())
    return tuple(sorted(found))


def _numbered(split: str, table: Table, known: tuple[str, ...], source: str) -> Table:
    if table.labels.ndim != 1:
        return table
    order = np.argsort(np.array(known))
    ordered = np.array(known)[order]
    classes = np.empty(table.rows, np.int64)
    for start, rows in chunks(table.labels):
        words = _texts(rows)
        places = np.minimum(np.searchsorted(ordered, words), len(ordered) - 1)
        wrong = ordered[places] != words
        if wrong.any():
            index = int(np.argmax(wrong))
            word = str(words[index])
            raise InputError(
                f"data: {split} labels, row {start + index}: {word!r} is no class of {source}."
                f"{suggest(word, known)} Classes: {listed(known)}."
            )
        classes[start : start + len(rows)] = order[places]
    return table._replace(labels=classes)


def _texts(rows: Array) -> Array:
    return np.char.decode(rows, "utf-8") if rows.dtype.kind == "S" else rows
