"""Groups of test rows by name, `column=value`, and which of them a gate names."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tasks.evaluation.gates import Gate
from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest

Array = np.ndarray[Any, Any]
MAX_SLICES = 1_000


def slice_rows(columns: Mapping[str, Array]) -> dict[str, Array]:
    """`column=value` -> row numbers, for every value of every slice column (rows,), sorted.

    Raises:
        InputError: a column has more than 1,000 values, so it is no grouping.
    """
    found: dict[str, Array] = {}
    for column, values in columns.items():
        names, group = np.unique(np.asarray(values), return_inverse=True)
        if names.size > MAX_SLICES:
            raise InputError(f"Slice column {column!r} has {names.size} values; a grouping has at most {MAX_SLICES}.")
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(names.size + 1))
        for number, name in enumerate(names.tolist()):
            found[f"{column}={name}"] = order[starts[number] : starts[number + 1]]
    return found


def named(gate: Gate, found: Collection[str]) -> list[str]:
    """The slices that a gate names; one that the data lacks stays in the list, as does `all` where there are none."""
    if gate.slices == "all":
        return list(found) or ["all"]
    names: list[str] = []
    for wanted in gate.slices or ():
        names += [name for name in found if name == wanted or name.startswith(f"{wanted}=")] or [wanted]
    return list(dict.fromkeys(names))


def check_slices(gates: Sequence[Gate], columns: Mapping[str, Array]) -> None:
    """Check, before any training, that the test data has every slice that a gate names.

    Raises:
        InputError: it has not, or a column is no grouping.
    """
    found = slice_rows(columns)
    for number, gate in enumerate(gates):
        missing = [name for name in named(gate, found) if name not in found]
        if missing:
            raise InputError(f"gates[{number}] ({gate.describe()}): {_absent(missing[0], [*columns, *found])}")


def _absent(name: str, known: Sequence[str]) -> str:
    if not known:
        return "the test data has no slices. Give the data `slices`, or remove them from the gate."
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"the test data has no slice {name!r}.{suggest(name, known)} It has: {shown}."
