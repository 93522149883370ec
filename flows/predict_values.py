"""What one value of an input may be, whatever file it stands in, and the words for one that may not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.foundations.errors import InputError

Array = np.ndarray[Any, Any]
SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True)
class Kind:
    """What one value of an input may be."""

    types: tuple[type, ...]
    words: str
    low: float = 0
    high: float = 0

    def takes(self, value: Any) -> bool:
        """NaN lies between no limits, so it is refused as infinities are."""
        return type(value) in self.types and (str in self.types or self.low <= value <= self.high)


def kind_of(name: str, dtype: str) -> Kind:
    """What values of an input of this dtype may be.

    Raises:
        InputError: it is one that no file of rows can hold.
    """
    if dtype == "str":
        return Kind((str,), "text")
    kind = np.dtype(dtype).kind
    if kind == "b":
        return Kind((bool,), "true or false", 0, 1)
    if kind in "iu":
        limits = np.iinfo(dtype)
        low, high = int(limits.min), int(limits.max)
        return Kind((int,), f"a whole number from {low} to {high} ({dtype})", low, high)
    if kind == "f":
        most = float(np.finfo(dtype).max)
        return Kind((int, float), f"a finite number ({dtype})", -most, most)
    raise InputError(f"input {name} is {dtype}, which no file of rows can hold.")


def check(values: list[Any], kind: Kind, place: Callable[[int], str]) -> None:
    """Look at every value.

    Args:
        values: of one row.
        kind: what they may be.
        place: words for where the value of an index stands.

    Raises:
        InputError: one may not.
    """
    for index, value in enumerate(values):
        if not kind.takes(value):
            raise InputError(f"{place(index)} is {short(value)}; expected {kind.words}.")


def stack(rows: list[list[Any]], shape: tuple[int, ...], dtype: str) -> Array:
    """Stack rows of checked values: (rows, *shape)."""
    values = [value for row in rows for value in row]
    array = np.empty(len(values), object if dtype == "str" else dtype)
    array[:] = values
    return array.reshape(len(rows), *shape)


def short(value: Any) -> str:
    """A value in a sentence, cut where it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def by(shape: tuple[int | None, ...]) -> str:
    """A shape without its rows: `(8, 8, 1)`, `(any, 3)`, `()` for a single value."""
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def listed(names: list[str]) -> str:
    """Names in a sentence; of many the first and the last."""
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:4])}, ..., {names[-1]}"
