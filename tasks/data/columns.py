"""Which columns of a table are inputs, labels and slices: what the config says, matched with what the file has.

csv and parquet share these keys, so that a file can be converted without touching the rest of its config.
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tasks.data.files import FilePerSplit, LocalFile, RemoteFile, missing_files, places, require_one
from tasks.data.reading import Where
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.foundations.words import suggest

PANDAS_INDEX = re.compile(r"__index_level_\d+__")
DELIMITERS = {";": "';'", "\t": r'"\t"', "|": "'|'", ",": "','"}
TEST_FRACTION = 0.2
MOST_LISTED = 12


class Columns(Record):
    """One input, where a column's name alone does not say enough: its columns and the shape of one row."""

    column: str | None = Field(None, description="The one column that it is made of.")
    columns: str | list[str] | None = Field(
        None, min_length=1, description="Columns to stack; `pixel*` stands for all that match, in the file's order."
    )
    shape: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=1, description="Shape of one row, without the batch: [28, 28, 1]."
    )
    dtype: Literal["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"] = Field(
        "uint8", description="What the bytes of a binary parquet column are; other columns know it themselves."
    )

    @model_validator(mode="after")
    def _says_which(self) -> "Columns":
        require_one({"column": self.column, "columns": self.columns}, "which columns these are")
        _once(self.columns)
        return self


def _once(columns: Any) -> None:
    """Refuse a column that a list names twice: a model would get fewer values than the author counts."""
    if isinstance(columns, list):
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the column {twice!r} stands twice in a list; name it once")


Inputs = Annotated[
    str | list[str] | dict[str, str | list[str] | Columns] | None,
    Field(
        min_length=1,
        description="A column, (rows,), or a list of columns, stacked to (rows, k); or input name -> a column, a list, "
        "or {column or columns, shape}. `pixel*` stands for all columns that match. Default: every column that is no "
        "label, slice or split.",
    ),
]
Label = Annotated[str | None, Field(description="Column of the labels: classes as integers or words, or numbers.")]
Labels = Annotated[
    list[str] | dict[str, str | list[str]] | None,
    Field(
        min_length=1,
        description="Columns of the labels where a row has several, stacked to (rows, k); or output name -> column, or "
        "columns, of a custom task with labels for several outputs; or label.",
    ),
]
Slices = Annotated[
    list[str] | dict[str, str],
    Field(description="Columns whose values group the rows for gates and reports, or slice name -> column."),
]
SplitColumn = Annotated[
    str | None,
    Field(description="Column that names each row's split: train, validation, calibration or test. For one file."),
]
TestFraction = Annotated[
    float | None,
    Field(
        gt=0,
        lt=1,
        description="Share of one file's rows that become test, drawn by the seed and evenly from every class; the "
        f"others are train. Default: {TEST_FRACTION}, where split_column is not given.",
    ),
]


class TableSource(Record):
    """The keys that every source of columns has, checked together; each adds its `kind`, its own keys and `read`."""

    path: LocalFile = None
    url: RemoteFile = None
    splits: FilePerSplit = None
    inputs: Inputs = None
    label: Label = None
    labels: Labels = None
    slices: Slices = Field(default_factory=list)
    split_column: SplitColumn = None
    test_fraction: TestFraction = None

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for each in self.inputs.values() if isinstance(self.inputs, dict) else [self.inputs]:
            _once(each)
        for labels in self.labels.values() if isinstance(self.labels, dict) else [self.labels]:
            _once(labels)
        require_one({"path": self.path, "url": self.url, "splits": self.splits})
        require_one({"label": self.label, "labels": self.labels}, "which columns are the labels")
        for key in ("split_column", "test_fraction"):
            if self.splits and getattr(self, key) is not None:
                raise ValueError(f"{key} divides one file, but splits gives a file for each; remove one of the two")
        if self.split_column is not None and self.test_fraction is not None:
            raise ValueError("split_column and test_fraction both divide the file; remove one of the two")
        return self

    def problems(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """Local files that are not there."""
        return missing_files(places(self.path, self.url, self.splits), folder)

    def source_digest(self, folder: Path) -> str:
        """Empty: no code of the user's is run."""
        return ""


class Part(NamedTuple):
    """One array of a split, made of columns of a file.

    Attributes:
        role: `inputs`, `labels` or `slices`.
        name: of the input or slice, or of the output that labels belong to; empty where labels are one array.
        columns: what it is made of.
        stacked: (rows, k), also for one column; else the column as it is.
        shape: of one row, None as it comes.
        dtype: of bytes.
    """

    role: str
    name: str
    columns: tuple[str, ...]
    stacked: bool = False
    shape: tuple[int, ...] | None = None
    dtype: str = "uint8"

    @property
    def what(self) -> str:
        """For sentences: `input 'age'`, `labels`, `labels 'digit'`, `slice 'sex'`."""
        if self.role == "labels":
            return f"labels {self.name!r}" if self.name else "labels"
        return f"{self.role[:-1]} {self.name!r}"


def parts_of(source: TableSource, file: str, names: Sequence[str], wide: frozenset[str] = frozenset()) -> list[Part]:
    """The arrays of every split, labels last.

    Args:
        source: what the config says.
        file: for sentences.
        names: columns of the file, in its order.
        wide: those that hold several values a row.

    Raises:
        InputError: names that the file lacks or has twice, or no column is left for the inputs.
    """
    _check_names(file, names)
    targets = _targets(source)
    labels = tuple(column for part in targets for column in part.columns)
    slices = source.slices if isinstance(source.slices, dict) else {name: name for name in source.slices}
    require_columns(file, names, [*labels, *slices.values(), *([source.split_column] if source.split_column else [])])
    others = [*labels, *slices.values(), source.split_column]
    rest = [name for name in names if name not in others and not PANDAS_INDEX.fullmatch(name)]
    inputs = _default(file, rest, wide) if source.inputs is None else _given(source.inputs, file, names)
    _refuse_labels(inputs, labels)
    return [
        *inputs,
        *(Part("slices", name, (column,)) for name, column in slices.items()),
        *targets,
    ]


def _targets(source: TableSource) -> list[Part]:
    if source.label is not None:
        return [Part("labels", "", (source.label,))]
    if not isinstance(source.labels, dict):
        return [Part("labels", "", tuple(source.labels or ()), stacked=True)]
    return [
        Part("labels", name, (columns,)) if isinstance(columns, str) else Part("labels", name, tuple(columns), True)
        for name, columns in source.labels.items()
    ]


def require_columns(file: str, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Whether a file has some columns.

    Raises:
        InputError: one is missing; names the nearest one, or the delimiter if the header is one word.
    """
    for column in wanted:
        if column not in names:
            raise InputError(f"data: {file} has no column {column!r}.{_hint(column, names)}")


def _hint(column: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        for delimiter, written in DELIMITERS.items():
            if delimiter in names[0]:
                return f" Its header is one column, {names[0]!r}: write delimiter: {written}."
    listed = ", ".join(map(repr, names[:MOST_LISTED])) + (
        f" and {len(names) - MOST_LISTED} more" * (len(names) > MOST_LISTED)
    )
    return f"{suggest(column, names)} It has: {listed}."


def _check_names(file: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(
                f"data: {file} has the column {name!r} twice (columns {names.index(name)} and {index}). Rename one."
            )
        if not name.strip():
            raise InputError(
                f"data: {file} has a column without a name (column {index}). Name it, or leave it out; an index that "
                "pandas wrote goes with to_csv(..., index=False)."
            )


def _default(file: str, rest: Sequence[str], wide: frozenset[str]) -> list[Part]:
    if not rest:
        raise InputError(f"data: no column of {file} is left for the inputs: all are labels, slices or the split.")
    if wide & set(rest):
        return [Part("inputs", name, (name,)) for name in rest]
    return [Part("inputs", "input", tuple(rest), stacked=True)]


def _given(inputs: Any, file: str, names: Sequence[str]) -> list[Part]:
    if isinstance(inputs, str | list):
        return [_part("input", inputs, file, names)]
    return [_part(name, content, file, names) for name, content in inputs.items()]


def _part(name: str, content: Any, file: str, names: Sequence[str]) -> Part:
    if not isinstance(content, Columns):
        content = Columns(column=content) if isinstance(content, str) else Columns(columns=content)
    wanted = content.column or content.columns or ""
    found = _expand([wanted] if isinstance(wanted, str) else wanted, file, names)
    stacked = content.column is None or len(found) > 1
    return Part("inputs", name, found, stacked, tuple(content.shape) if content.shape else None, content.dtype)


def _expand(wanted: Sequence[str], file: str, names: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for word in wanted:
        matching = fnmatch.filter(names, word) if word not in names and "*" in word else [word]
        if not matching:
            raise InputError(f"data: no column of {file} matches {word!r}.{_hint(word, names)}")
        require_columns(file, names, matching)
        found += [name for name in matching if name not in found]
    return tuple(found)


def _refuse_labels(inputs: Sequence[Part], labels: Sequence[str]) -> None:
    for part in inputs:
        for column in part.columns:
            if column in labels:
                raise InputError(
                    f"data: the column {column!r} is a label and stands in {part.what} too: the model would be told "
                    "the answer. Leave it out of the inputs."
                )
