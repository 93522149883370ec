"""From whatever the user's `load` returned to splits of arrays whose row counts agree, or one clear sentence."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.data.dataset import SPLITS
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Array = np.ndarray[Any, Any]
SHAPE_OF_IT = "{split: {'inputs': array or {name: array}, 'labels': array, 'slices': {name: array}}}"
KEYS = ("inputs", "labels", "slices")
KINDS = "biufUS"  # bool, integers, floats, strings


class Table(NamedTuple):
    """One split in memory or mapped.

    Attributes:
        inputs: name -> (rows, ...).
        labels: (rows, ...); where they are given by output name, the first of them.
        slices: name -> (rows,).
        by_output: output name -> (rows, ...) labels; empty where they are one array.
    """

    inputs: dict[str, Array]
    labels: Array
    slices: dict[str, Array]
    by_output: Mapping[str, Array] = {}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def targets(self) -> dict[str, Array]:
        """What to call them -> labels: `labels`, or `labels 'digit'` of every output that has some."""
        return {f"labels {name!r}": array for name, array in self.by_output.items()} or {"labels": self.labels}


def tables(returned: Any, needs_train: bool) -> dict[str, Table]:
    """Splits by name, in the order of `SPLITS`.

    Args:
        returned: what the data source yielded.
        needs_train: the model is trained, so `train` must be there.

    Raises:
        InputError: wrong types, unknown or missing splits, empty splits, row counts that differ, object arrays,
            inputs or slices whose names differ between splits.
    """
    if not isinstance(returned, Mapping):
        raise InputError(f"data: load() must return {SHAPE_OF_IT}; it returned {type(returned).__name__}.")
    for split in returned:
        if split not in SPLITS:
            meant = suggest(str(split), SPLITS)
            raise InputError(f"data: unknown split {split!r}. Splits are {', '.join(SPLITS)}.{meant}")
    _require(returned, needs_train)
    found = {split: _table(split, returned[split]) for split in SPLITS if split in returned}
    _same_names(found)
    return found


def _require(returned: Mapping[str, Any], needs_train: bool) -> None:
    given = ", ".join(returned) or "none"
    if "test" not in returned:
        raise InputError(f"data: the split 'test' is missing (given: {given}). Every gate is decided on it.")
    if needs_train and "train" not in returned:
        raise InputError(f"data: the split 'train' is missing (given: {given}). The model is to be trained on it.")
    if not {"train", "calibration"} & set(returned):
        raise InputError(f"data: neither 'train' nor 'calibration' is given (given: {given}). Add one of them.")


def _table(split: str, content: Any) -> Table:
    if not isinstance(content, Mapping):
        raise InputError(f"data: {split} must be a dict of inputs, labels, slices; it is {type(content).__name__}.")
    for key in content:
        if key not in KEYS:
            raise InputError(f"data: {split} has an unknown key {key!r}. Keys are {', '.join(KEYS)}.")
    for key in ("inputs", "labels"):
        if content.get(key) is None:
            raise InputError(f"data: {split} has no {key!r}. Expected {SHAPE_OF_IT}.")
    inputs, slices = content["inputs"], content.get("slices") or {}
    if not isinstance(slices, Mapping):
        raise InputError(f"data: {split} slices must be a dict of name: array; it is {type(slices).__name__}.")
    named = inputs if isinstance(inputs, Mapping) else {"input": inputs}
    if not named:
        raise InputError(f"data: {split} has no inputs: the dict is empty.")
    labels, by_output = _labels(split, content["labels"])
    table = Table(_named_arrays(split, "input", named), labels, _named_arrays(split, "slice", slices), by_output)
    _same_rows(split, table)
    return table


def _labels(split: str, labels: Any) -> tuple[Array, dict[str, Array]]:
    """One array of labels; the first, and all by output name, where they are given so."""
    if not isinstance(labels, Mapping):
        return _array(f"{split} labels", labels), {}
    if not labels:
        raise InputError(f"data: {split} has no labels: the dict is empty.")
    by_output = _named_arrays(split, "labels", labels)
    return next(iter(by_output.values())), by_output


def _named_arrays(split: str, what: str, arrays: Mapping[str, Any]) -> dict[str, Array]:
    return {_name(split, name): _array(f"{split} {what} {name!r}", value) for name, value in arrays.items()}


def _array(what: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:  # ragged nested lists
        raise InputError(f"data: {what} is no regular array: {error}.") from error
    if array.dtype.kind == "O":
        raise InputError(
            f"data: {what} has dtype object (mixed or ragged values). Expected numbers or strings; "
            "convert it first, e.g. .astype('float32') or .astype(str)."
        )
    if array.dtype.kind not in KINDS:
        raise InputError(f"data: {what} has dtype {array.dtype}. Expected numbers, booleans or strings.")
    if array.ndim == 0:
        raise InputError(f"data: {what} is a single value ({array.dtype}). Expected an array with one entry a row.")
    return array


def _name(split: str, name: Any) -> str:
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name.startswith("."):
        raise InputError(f"data: {split} has a column named {name!r}. Expected a plain word, it becomes a file's name.")
    return name


def _same_rows(split: str, table: Table) -> None:
    rows = {f"input {name!r}": len(array) for name, array in table.inputs.items()}
    rows |= {what: len(array) for what, array in table.targets.items()}
    rows |= {f"slice {name!r}": len(array) for name, array in table.slices.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{what} has {count}" for what, count in rows.items())
        raise InputError(f"data: {split} has row counts that differ: {counts}. Every column needs one entry a row.")
    if table.rows == 0:
        raise InputError(f"data: the split {split!r} is empty. Give it at least one row, or leave it out.")
    for name, array in table.slices.items():
        if array.ndim != 1 or array.dtype.kind == "f":
            raise InputError(
                f"data: {split} slice {name!r} is {array.dtype} {array.shape}. Expected one word or integer a row."
            )


def _same_names(found: Mapping[str, Table]) -> None:
    first = next(iter(found))
    for split, table in found.items():
        if list(table.inputs) != list(found[first].inputs):
            raise InputError(
                f"data: {split} has the inputs {list(table.inputs)}, {first} has {list(found[first].inputs)}. "
                "Every split needs the same inputs in the same order."
            )
        if set(table.by_output) != set(found[first].by_output):
            raise InputError(
                f"data: {split} has labels for {_listed(table)}, {first} for {_listed(found[first])}. Every split "
                "needs the same labels."
            )
        _same_forms(split, table, first, found[first])


def _listed(table: Table) -> str:
    return ", ".join(table.by_output) or "no output by name"


def _same_forms(split: str, table: Table, first: str, other: Table) -> None:
    for name, array in table.inputs.items():
        if array.shape[1:] != other.inputs[name].shape[1:]:
            raise InputError(
                f"data: a row of {split} input {name!r} has shape {array.shape[1:]}, in {first} it has "
                f"{other.inputs[name].shape[1:]}. Every split needs rows of one shape."
            )
        native = array.dtype.newbyteorder("=")
        if native != other.inputs[name].dtype.newbyteorder("=") and array.dtype.kind not in "US":
            raise InputError(
                f"data: {split} input {name!r} is {array.dtype}, in {first} it is {other.inputs[name].dtype}. "
                "Every split needs the same dtype."
            )
