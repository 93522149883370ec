"""The steps that csv and parquet share: open, match columns, learn what they hold, part the rows, store the arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.data.columns import Part, TableSource, parts_of
from tasks.data.facts import Fact, merge
from tasks.data.partition import partition
from tasks.data.reading import Reading
from tasks.data.spool import Rows, Table, spool
from tasks.foundations.errors import InputError

Open = Callable[[str, Reading], Table]
Facts = Callable[[Table, Sequence[Part]], dict[str, Fact]]


def read_tables(source: TableSource, reading: Reading, open_table: Open, facts_of: Facts) -> dict[str, Any]:
    """Read the files of a source of columns.

    Args:
        source: the keys of the config.
        reading: where it stands, and where to write.
        open_table: opens a file by path or URL.
        facts_of: what the columns of some parts hold.

    Returns:
        `{split: {inputs, labels, slices}}` of read-only memory maps.

    Raises:
        InputError: see `parts_of`, `layout`, `partition`, `spool`; or a file has no rows.
    """
    wanted = source.splits or {"": source.path or source.url or ""}
    tables = {split: open_table(place, reading) for split, place in wanted.items()}
    for table in tables.values():
        if not table.rows:
            raise InputError(f"data: {table.name} has no rows. Expected at least one below the names of its columns.")
    parts = {split: parts_of(source, table.name, table.names, table.wide) for split, table in tables.items()}
    seen = {table.name: facts_of(table, parts[split]) for split, table in tables.items()}
    facts = _merged(seen)
    found: dict[str, Any] = {}
    for split, table in tables.items():
        rows = Rows((split,)) if split else partition(source, table, reading)
        found |= spool(table, parts[split], facts, rows, reading)
    return found


def _merged(seen: Mapping[str, Mapping[str, Fact]]) -> dict[str, Fact]:
    columns = dict.fromkeys(column for facts in seen.values() for column in facts)
    return {
        column: merge(column, {file: facts[column] for file, facts in seen.items() if column in facts})
        for column in columns
    }
