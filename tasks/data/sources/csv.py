"""Data from csv files. Columns have no types there, so files are read twice: to learn what they hold, to store it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.data.columns import Columns, Part, TableSource
from tasks.data.facts import Fact
from tasks.data.files import fetch
from tasks.data.reading import Reading
from tasks.data.spool import Table
from tasks.data.tables import read_tables
from tasks.data.texts import Texts
from tasks.foundations.errors import InputError

BLOCK_BYTES = 4 * 2**20  # of one batch; no row may be longer
UTF16 = (b"\xff\xfe", b"\xfe\xff")
HINTS = {
    "utf": " Save it as UTF-8.",
    "straddl": f" A row is longer than {BLOCK_BYTES // 2**20} MB: is a quote opened and never closed?",
    "inflate": " A file whose name ends in .gz must be packed with gzip.",
}


def _one_character(delimiter: str) -> str:
    if len(delimiter.encode()) != 1:
        raise ValueError(f'{delimiter!r} is not one character. Expected e.g. ",", ";", "|", or "\\t" for a tab')
    return delimiter


class CsvData(TableSource):
    """Rows of a csv file, UTF-8, with one header line; `.gz` is unpacked. Numbers, true and false, and words."""

    kind: Literal["csv"]
    delimiter: Annotated[str, AfterValidator(_one_character)] = Field(
        ",", description='What parts the values, one character: ";", "\\t", "|".'
    )
    header: list[str] | None = Field(
        None, min_length=1, description="Names of the columns, for files that begin with data instead of names."
    )

    @model_validator(mode="after")
    def _has_no_bytes(self) -> Self:
        inputs = self.inputs.values() if isinstance(self.inputs, dict) else ()
        if any(isinstance(each, Columns) and each.dtype != Columns.model_fields["dtype"].default for each in inputs):
            raise ValueError("dtype says what the bytes of a binary parquet column are; csv has none. Leave it out")
        return self

    def read(self, reading: Reading) -> Any:
        """Store every array of every split in scratch, from batches of rows.

        Raises:
            InputError: a file, a column or a value is missing, or a value is not what its column holds.
        """
        return read_tables(self, reading, self._open, _facts)

    def _open(self, place: str, reading: Reading) -> Table:
        file = _CsvFile(place, fetch(place, reading), self.delimiter, self.header)
        rows = 0
        for batch in file.batches(file.names[:1], {}):
            rows += batch.num_rows
        return Table(place, file.names, rows, file.batches)


def _facts(table: Table, parts: Sequence[Part]) -> dict[str, Fact]:
    """What the columns hold: what their first rows promise, if all rows keep it, since numbers are parsed fast.

    If one does not, every value is looked at as text, which tells what is wrong, if anything is.
    """
    roles = {column: part.role for part in parts for column in part.columns}
    try:
        return _learn(table, roles, _promised(table, roles))
    except InputError:
        return _learn(table, roles, {})


def _promised(table: Table, roles: Mapping[str, str]) -> dict[str, Fact]:
    """The columns whose first rows are numbers."""
    batch = next(table.batches(list(roles), {}))
    facts = {}
    for column, role in roles.items():
        seen = Texts(column, table.name, role)
        seen.add(0, batch.column(column))
        facts[column] = seen.fact()
    return {column: fact for column, fact in facts.items() if fact.kind == "number"}


def _learn(table: Table, roles: Mapping[str, str], numbers: Mapping[str, Fact]) -> dict[str, Fact]:
    texts = {column: Texts(column, table.name, role) for column, role in roles.items() if column not in numbers}
    start = 0
    for batch in table.batches(list(roles), numbers):
        for column in numbers:
            if batch.column(column).null_count:
                raise InputError(f"data: {table.name}, column {column!r}: a value is empty.")
        for column, seen in texts.items():
            seen.add(start, batch.column(column))
        start += batch.num_rows
    return {column: texts[column].fact() if column in texts else numbers[column] for column in roles}


class _CsvFile:
    """One csv file, streamed as often as it is asked for."""

    def __init__(self, name: str, path: Path, delimiter: str, header: list[str] | None) -> None:
        self._name, self._path, self._delimiter, self._header = name, path, delimiter, header
        with path.open("rb") as file:
            if file.read(2) in UTF16:
                raise InputError(f"data: {name} is UTF-16. Save it as UTF-8.")
        with _Sentences(self._name) as ragged:
            self.names: tuple[str, ...] = tuple(self._reader({}, ragged.note).schema.names)

    def batches(self, columns: Sequence[str], facts: Mapping[str, Fact]) -> Iterator[Any]:
        """Batches of some columns; as texts, empty values as nulls, where no fact says what they hold."""
        import pyarrow as pa

        types = {
            column: pa.from_numpy_dtype(facts[column].dtype)
            if column in facts and facts[column].kind == "number"
            else pa.string()
            for column in columns
        }
        with _Sentences(self._name) as ragged:
            for batch in self._reader(types, ragged.note):
                if batch.num_rows:
                    yield batch

    def _reader(self, types: Mapping[str, Any], on_ragged: Any) -> Any:
        import pyarrow.csv

        return pyarrow.csv.open_csv(
            str(self._path),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=self._header or None
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=on_ragged
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


class _Sentences:
    """Turns what pyarrow says of a csv file into sentences."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ragged: Any = None

    def note(self, row: Any) -> str:
        """Keep the first row that has too few or too many values; asked by pyarrow."""
        self._ragged = row
        return "error"

    def __enter__(self) -> "_Sentences":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow as pa

        if not isinstance(error, pa.ArrowException | OSError | UnicodeError):
            return
        if self._ragged is not None:
            number = f" (line {self._ragged.number} if no value spans lines)" if self._ragged.number else ""
            raise InputError(
                f"data: {self._name}: the row {self._ragged.text[:80]!r}{number} has {self._ragged.actual_columns} "
                f"values, the header has {self._ragged.expected_columns}. Quote values that hold the delimiter."
            ) from error
        text = str(error)
        if "Empty CSV" in text:
            raise InputError(f"data: {self._name} is empty. Expected a header line and rows.") from error
        hint = next((hint for word, hint in HINTS.items() if word in text.lower()), "")
        raise InputError(f"data: {self._name} cannot be read as csv: {text.rstrip('.')}.{hint}") from error
