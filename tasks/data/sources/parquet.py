"""Data from parquet files: typed columns, pictures and sequences as lists or bytes, streamed in batches of rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tasks.data.columns import Part, TableSource
from tasks.data.facts import Fact
from tasks.data.files import fetch
from tasks.data.reading import Reading
from tasks.data.spool import Table
from tasks.data.tables import read_tables
from tasks.data.tensors import fact_of
from tasks.foundations.errors import InputError

BATCH_BYTES = 8 * 2**20
MOST_ROWS = 65_536
READ_BYTES = 2**20


class ParquetData(TableSource):
    """Rows of a parquet file. Lists of numbers (nested ones too) and bytes with a shape are arrays, one a row."""

    kind: Literal["parquet"]

    def read(self, reading: Reading) -> Any:
        """Store every array of every split in scratch, from batches of rows.

        Raises:
            InputError: a file, a column or a value is missing, or of a type that no model takes.
        """
        return read_tables(self, reading, _open, _facts)


def _open(place: str, reading: Reading) -> Table:
    import pyarrow as pa
    import pyarrow.parquet

    path = fetch(place, reading)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"data: {place} cannot be read as parquet: {error}.") from error
    names = tuple(schema.names)
    wide = frozenset(field.name for field in schema if pa.types.is_nested(field.type) or _is_bytes(field.type))

    def batches(columns: Sequence[str], facts: Mapping[str, Fact]) -> Iterator[Any]:
        try:
            yield from _batches(path, columns)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"data: {place} cannot be read as parquet: {error}.") from error

    return Table(place, names, rows, batches, wide, schema)


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Batches of about `BATCH_BYTES`; a row group may be larger than memory, so it is read page by page."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
        first = next(file.iter_batches(batch_size=1, columns=list(columns), use_threads=False))
        rows = min(MOST_ROWS, max(1, BATCH_BYTES // max(1, first.nbytes)))
        for batch in file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
            yield _without_views(batch)


def _without_views(batch: Any) -> Any:
    """Texts as the type that every function of pyarrow knows."""
    import pyarrow as pa

    views = [field.name for field in batch.schema if pa.types.is_string_view(field.type)]
    for name in views:
        place = batch.schema.get_field_index(name)
        batch = batch.set_column(place, name, batch.column(place).cast(pa.large_string()))
    return batch


def _facts(table: Table, parts: Sequence[Part]) -> dict[str, Fact]:
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    facts = {c: fact_of(f"{table.name}, column {c!r}", table.schema.field(c).type) for c in columns}
    texts = [column for column, fact in facts.items() if fact.kind == "text"]
    return facts | (_widths(table, texts) if texts else {})


def _widths(table: Table, texts: Sequence[str]) -> dict[str, Fact]:
    import pyarrow as pa
    import pyarrow.compute as pc

    widths, examples = dict.fromkeys(texts, 1), dict.fromkeys(texts, "")
    for batch in table.batches(texts, {}):
        for column in texts:
            values = batch.column(column)
            values = values.dictionary if pa.types.is_dictionary(values.type) else values
            widths[column] = max(widths[column], pc.max(pc.utf8_length(values)).as_py() or 1)
            examples[column] = examples[column] or str(values[0].as_py() if len(values) else "")
    return {column: Fact("text", width=widths[column], example=examples[column]) for column in texts}


def _is_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))
