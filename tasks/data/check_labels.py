"""Labels are checked before any work: what is no class, no number or no set of labels is said with its row.

Arrays may be memory maps larger than memory, so everything scans in chunks of rows.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from tasks.data.check import check_finite
from tasks.data.chunks import chunks
from tasks.data.expected import Expected
from tasks.data.returned import Array, Table
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Task = Literal["classification", "multilabel", "regression", "custom"]
MOST_LISTED = 10


def check_labels(
    what: str, labels: Array, task: Task, width: int | None, names: tuple[str, ...] = ()
) -> tuple[int, ...]:
    """Check the labels of one split, words and one-hot rows already being integers.

    Args:
        what: split and labels, for sentences: `train labels`.
        labels: (rows,) for classification; (rows, k) for multilabel; (rows,) or (rows, k) for regression; any for
            custom tasks.
        task: what the labels mean.
        width: size of the model's output, None if not known.
        names: of the columns of a multilabel task.

    Returns:
        The distinct classes, sorted; empty for other tasks.

    Raises:
        InputError: several labels a row, non-integer classes, classes out of range, labels that are no numbers,
            values other than 0 and 1, another number of columns than the model's output has.
    """
    if task == "classification":
        return _check_class_labels(what, labels, width)
    if task == "multilabel":
        _check_sets(what, labels, width, names)
    elif task == "regression":
        _check_targets(what, labels, width)
    else:
        check_finite(what, labels)
    return ()


def check_label_names(table: Table, task: Task, expected: Expected | None) -> None:
    """Labels by name are for custom tasks, and the names are those of outputs.

    Raises:
        InputError: they are not.
    """
    if not table.by_output:
        return
    given = ", ".join(table.by_output)
    if task != "custom":
        raise InputError(
            f"data: the labels are given by name ({given}), a {task} task has one array of labels: those of the output "
            "that task.judged names. To train and judge several outputs, write task: {kind: custom}."
        )
    for name in table.by_output if expected else ():
        outputs = tuple(expected.outputs) if expected else ()
        if name not in outputs:
            raise InputError(
                f"data: there are labels for {name!r}, and the model has no such output; its outputs are "
                f"{', '.join(outputs)}.{suggest(name, outputs)}"
            )


def check_classes(classes: Mapping[str, tuple[int, ...]], names: tuple[str, ...] = ()) -> list[str]:
    """Refuse splits of one class; warn of test classes that train never shows.

    Args:
        classes: those of every split.
        names: of the classes, empty where they have none.

    Raises:
        InputError: `train` or `test` holds one class only.
    """
    for split in ("train", "test"):
        if len(classes.get(split, (0, 1))) == 1:
            raise InputError(
                f"data: every label of {split} is {_called(classes[split], names)[0]}. Classification needs at least "
                "two classes; is the data sorted by class before it is split?"
            )
    unseen = sorted(set(classes["test"]) - set(classes.get("train", classes["test"])))
    return [f"test holds the classes {_called(unseen, names)} that train never shows"] if unseen else []


def missing_in_calibration(
    calibration: Array, classes: Mapping[str, tuple[int, ...]], names: tuple[str, ...]
) -> list[str]:
    """Warn of classes of train (of test, where there is no train) without a row among those that calibrate.

    Args:
        calibration: (rows,) integer labels.
        classes: those of every split.
        names: of the classes, empty where they have none.
    """
    known = classes.get("train", classes["test"])
    missing = sorted(set(known) - set(np.unique(calibration).tolist()))
    if not missing:
        return []
    shown = ", ".join(str(name) for name in _called(missing[:MOST_LISTED], names))
    more = f" and {len(missing) - MOST_LISTED} more" if len(missing) > MOST_LISTED else ""
    return [
        f"calibration has no row of the classes {shown}{more}: the ranges of quantized candidates are measured without "
        "them; give a calibration split that shows every class"
    ]


def constant_labels(labels: Array, names: tuple[str, ...]) -> list[str]:
    """Warn of labels of a multilabel task that are the same in every test row: nothing can be said of them.

    Args:
        labels: (rows, k) of the test split, 0 and 1.
        names: of the columns, empty where they have none.
    """
    held = np.zeros(labels.shape[1], np.int64)
    for _, rows in chunks(labels):
        held += (rows == 1).sum(axis=0)
    same = np.flatnonzero((held == 0) | (held == len(labels)))
    if not same.size:
        return []
    shown = ", ".join(str(name) for name in _called(same[:MOST_LISTED].tolist(), names))
    more = f" and {same.size - MOST_LISTED} more" if same.size > MOST_LISTED else ""
    return [
        f"test has the same value in every row of the label columns {shown}{more}: whether a model knows these labels "
        "is not tested"
    ]


def _check_class_labels(what: str, labels: Array, width: int | None) -> tuple[int, ...]:
    _check_class_form(what, labels)
    classes = {None: None, 1: 2}.get(width, width)
    found: set[int] = set()
    for start, rows in chunks(labels):
        wrong = (rows < 0) if classes is None else (rows < 0) | (rows >= classes)
        if wrong.any():
            row = int(np.argmax(wrong))
            upper = "" if classes is None else f"..{classes - 1}"
            raise InputError(
                f"data: {what}, row {start + row}: the value is {rows[row]}. Expected classes 0{upper}"
                + ("." if classes is None else f", because the model's output tells {classes} classes apart.")
            )
        found.update(np.unique(rows).tolist())
    return tuple(sorted(int(value) for value in found))


def _check_class_form(what: str, labels: Array) -> None:
    if labels.ndim != 1:
        raise InputError(f"data: {what} have shape {labels.shape}{_form_advice(labels)}")
    if labels.dtype.kind not in "biu":
        raise InputError(
            f"data: {what} are {labels.dtype}, like {_telling(labels)}. Classification needs integer classes 0, 1, 2, "
            "..., or words: write whole numbers without decimal places, or task: {kind: regression} for amounts."
        )


def _telling(labels: Array) -> str:
    """A label that shows that these are no classes, if there is one, with its row; else the first."""
    if labels.dtype.kind == "f":
        odd = np.flatnonzero(labels != np.floor(labels))
        row = int(odd[0]) if odd.size else 0
        return f"{labels[row]} in row {row}"
    return str(labels[0])


def _form_advice(labels: Array) -> str:
    if labels.size == len(labels):
        return ". Expected (rows,), e.g. labels.reshape(-1)."
    return (
        ", several a row. Expected (rows,): one class a row. For several labels at once, 0 or 1 in each of k columns, "
        "write task: {kind: multilabel}; for labels of sequences (one a time step) or images, {kind: custom}."
    )


def _check_targets(what: str, labels: Array, width: int | None) -> None:
    if labels.dtype.kind not in "biuf":
        raise InputError(f"data: {what} are {labels.dtype}. Regression needs numbers.")
    if labels.ndim > 2:
        raise InputError(
            f"data: {what} have shape {labels.shape}. Expected (rows,) or (rows, k); for anything of more axes write "
            "task: {kind: custom}."
        )
    _check_columns(what, labels.shape[1] if labels.ndim == 2 else 1, width)
    check_finite(what, labels)


def _check_columns(what: str, columns: int, width: int | None) -> None:
    if width is not None and columns != width:
        raise InputError(f"data: {what} have {columns} column(s), the model's output has {width}.")


def _check_sets(what: str, labels: Array, width: int | None, names: tuple[str, ...]) -> None:
    if labels.ndim != 2:
        hint = " For one class a row write task: {kind: classification}." if labels.ndim == 1 else ""
        raise InputError(
            f"data: {what} have shape {labels.shape}. Multilabel needs (rows, k): a column of 0 and 1 for every label, "
            f"like [1, 0, 1].{hint}"
        )
    if labels.dtype.kind not in "biuf":
        raise InputError(f"data: {what} are {labels.dtype}. Multilabel needs 0 or 1 in the column of every label.")
    if names and len(names) != labels.shape[1]:
        raise InputError(
            f"data: task.classes names {len(names)} labels, {what} have {labels.shape[1]} column(s). Name every "
            "column, in order."
        )
    _check_columns(what, labels.shape[1], width)
    for start, rows in chunks(labels):
        good = (rows == 0) | (rows == 1)
        if not good.all():
            row, column = (int(index[0]) for index in np.nonzero(~good))
            called = f" ({names[column]})" if names else ""
            raise InputError(
                f"data: {what}, row {start + row}, column {column}{called}: the value is {rows[row, column]}. Expected "
                "0 or 1: whether the row has this label."
            )


def _called(classes: Sequence[int], names: tuple[str, ...]) -> list[int] | list[str]:
    return [names[value] for value in classes] if names else list(classes)
