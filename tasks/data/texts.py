"""What the texts of a csv column mean. Nothing in the file says it, and its first rows may lie: every row is read.

A column is of numbers if most of its values are; then the first text in it is a mistake, told with its row. A column
without any number is of words.
"""

from typing import Any

import numpy as np

from tasks.data.facts import Fact
from tasks.foundations.errors import InputError

# What pandas and R write for a missing number; among words they are words.
MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none", "<NA>", "#N/A", "na", "n/a", "-nan", "")
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Texts:
    """The values of one column so far.

    Args:
        column: its name.
        file: for sentences.
        role: what it becomes. In `slices` numbers and words may stand side by side, as words; of `labels` none may be
            an empty word.
    """

    def __init__(self, column: str, file: str, role: str) -> None:
        self._what = f"{file}, column {column!r}"
        self._mixed, self._empty = role == "slices", role != "labels"
        self._kinds: set[str] = set()
        self._numbers, self._words, self._width = 0, 0, 1
        self._first_word: tuple[int, str] | None = None
        self._missing: tuple[int, str] | None = None
        self._missing_count = 0

    def add(self, start: int, values: Any) -> None:
        """Look at more values.

        Args:
            start: row of the first.
            values: pyarrow array of strings.

        Raises:
            InputError: an empty value.
        """
        import pyarrow.compute as pc

        if values.null_count:
            row = start + int(np.argmax(pc.is_null(values).to_numpy(zero_copy_only=False)))
            raise InputError(_no_value(self._what, row, "is empty", values.null_count))
        self._width = max(self._width, pc.max(pc.utf8_length(values)).as_py() or 1)
        trimmed = pc.utf8_trim_whitespace(values)
        kind = _kind(trimmed)
        if kind == "word":
            self._look_closer(start, values, trimmed)
        else:
            self._kinds.add(kind)
            self._numbers += len(values)

    def fact(self) -> Fact:
        """What the column holds.

        Raises:
            InputError: most values are numbers, but some are words or missing.
        """
        if self._words == 0 or (self._numbers > self._words and not self._mixed):
            self._refuse_others()
            dtype = "bool" if self._kinds == {"bool"} else "int64" if self._kinds == {"int64"} else "float64"
            return Fact("number", np.dtype(dtype))
        return Fact("text", width=self._width, example=self._first_word[1] if self._first_word else "")

    def _look_closer(self, start: int, values: Any, trimmed: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        number = pc.match_substring_regex(trimmed, NUMBER).to_numpy(zero_copy_only=False)
        missing = pc.is_in(trimmed, pa.array(MISSING)).to_numpy(zero_copy_only=False)
        word = ~number & ~missing
        self._numbers += int(number.sum())
        self._words += int(word.sum())
        self._missing_count += int(missing.sum())
        if number.any():
            self._kinds.add(_kind(trimmed.filter(pa.array(number))))
        self._missing = self._missing or _first(start, missing, values)
        if not self._empty and (nothing := _first(start, pc.equal(trimmed, "").to_numpy(zero_copy_only=False), values)):
            raise InputError(_no_value(self._what, nothing[0], f"is {nothing[1]!r}", 1))
        self._first_word = self._first_word or _first(start, word, values)

    def _refuse_others(self) -> None:
        if self._first_word:
            row, value = self._first_word
            raise InputError(
                f"data: {self._what}, row {row}: {value!r} is no number, unlike {self._numbers} values of that column. "
                "Correct it, or drop the row."
            )
        if self._missing:
            row, value = self._missing
            raise InputError(_no_value(self._what, row, f"is {value!r}", self._missing_count))
        if "bool" in self._kinds and len(self._kinds) > 1:
            raise InputError(f"data: {self._what} mixes numbers with true and false. Write one of the two.")


def _kind(values: Any) -> str:
    import pyarrow as pa

    if len(values) > 1 and _kind(values[:1]) == "word":  # one word suffices, and is found faster than by a cast of all
        return "word"
    for name, kind in (("int64", pa.int64()), ("float64", pa.float64()), ("bool", pa.bool_())):
        try:
            values.cast(kind)
        except pa.ArrowInvalid:
            continue
        return name
    return "word"


def _first(start: int, mask: Any, values: Any) -> tuple[int, str] | None:
    if not mask.any():
        return None
    index = int(np.argmax(mask))
    return start + index, values[index].as_py()


def _no_value(what: str, row: int, how: str, count: int) -> str:
    more = f" ({count} such rows)" if count > 1 else ""
    return f"data: {what}, row {row}: the value {how}{more}. Models take no missing values; fill or drop such rows."
