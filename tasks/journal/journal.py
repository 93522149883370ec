"""The append-only table that is the authority on what is in production.

MLflow's aliases are last-writer-wins and forget; a table whose only write is "insert at last + 1" is a compare-and-set
and a history at once. It works on SQLite (one machine) and on PostgreSQL (by URL).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from tasks.foundations.errors import Conflict, DigestMismatch, SlipwayError
from tasks.journal.event import NO_HASH, Event, Milestone, Outline

BUSY_SECONDS = 30
"""How long a writer waits for another process's write to the SQLite file."""

table = sa.Table(
    "journal",
    sa.MetaData(),
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("serial", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("phase", sa.String(20), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("from_version", sa.Integer),
    sa.Column("digest", sa.String(128), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("prev_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("schema", sa.Integer, nullable=False),
)

# An attempt begins with one `intent` and ends with one of the two, also when its id is used again.
_MOVES = table.c.kind != "registered"
_BEGUN = sa.func.sum(sa.case((sa.and_(_MOVES, table.c.phase == "intent"), 1), else_=0))
_ENDED = sa.func.sum(sa.case((sa.and_(_MOVES, table.c.phase.in_(("done", "undone"))), 1), else_=0))


class Journal:
    """Events of all models in one table; nothing here updates or deletes a row."""

    def __init__(self, url: str) -> None:
        """Open the journal; the table (and a SQLite file with its folder) is made if it is missing.

        Args:
            url: `sqlite:////absolute/journal.db` or `postgresql://user@host/database`, as SQLAlchemy reads it. A
                password that it lacks comes from PGPASSWORD or the file that PGPASSFILE names.

        Raises:
            SlipwayError: the URL is no database that can be reached and written.
        """
        try:
            parsed = _with_driver(sa.make_url(url))
            self.name = parsed.render_as_string(hide_password=True)
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed, poolclass=NullPool)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, OSError) as error:
            raise SlipwayError(
                f"The journal cannot be opened: {error}. Expected a URL like sqlite:////folder/journal.db or "
                "postgresql://user@host/database."
            ) from error
        if parsed.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", _set_busy_timeout)
        with self._readable_errors():
            self._make_table()

    def append(self, event: Event, expected_serial: int | None = None) -> Event:
        """Write one event behind the model's last one: the compare-and-set of every move.

        Args:
            event: what to write; its `serial`, `at`, `prev_hash` and `hash` are replaced.
            expected_serial: the serial that must still be the model's last; None takes the last one as it is now.

        Returns:
            The event as it stands in the journal.

        Raises:
            Conflict: another process wrote first; the message names it.
            SlipwayError: the database cannot be written.
        """
        last = self.last(event.model)
        last_serial = last.serial if last else 0
        if expected_serial is not None and expected_serial != last_serial:
            raise self._conflict(event.model, expected_serial + 1)
        stamped = event.model_copy(
            update={
                "serial": last_serial + 1,
                "at": datetime.now(UTC).isoformat(timespec="microseconds"),
                "prev_hash": last.hash if last else NO_HASH,
            }
        )
        stamped = stamped.model_copy(update={"hash": stamped.computed_hash()})
        try:
            with self._readable_errors(), self._engine.begin() as connection:
                connection.execute(table.insert().values(stamped.row()))
        except sa.exc.IntegrityError as error:
            raise self._conflict(event.model, stamped.serial) from error
        return stamped

    def events(self, model: str) -> list[Event]:
        """All events of one model, oldest first; empty for a model that nobody has registered."""
        return self._select(table.select().where(table.c.model == model).order_by(table.c.serial))

    def last(self, model: str) -> Event | None:
        """The newest event of one model, None if there is none."""
        query = table.select().where(table.c.model == model).order_by(table.c.serial.desc()).limit(1)
        return next(iter(self._select(query)), None)

    def models(self) -> list[str]:
        """Names of all models that have events, sorted."""
        with self._readable_errors(), self._engine.connect() as connection:
            return sorted(connection.execute(sa.select(table.c.model).distinct()).scalars())

    def outlines(self) -> dict[str, Outline]:
        """Name of each model, sorted -> its events in outline: of thousands of versions in a moment, and not proved."""
        columns = table.c
        states = sa.select(columns.model, sa.func.max(columns.serial), _BEGUN == _ENDED).group_by(columns.model)
        first = (
            sa.select(columns.model, sa.func.min(columns.serial).label("serial"))
            .where(columns.kind == "registered")
            .group_by(columns.model, columns.version)
            .subquery()
        )
        newest = sa.select(first.c.model, sa.func.max(first.c.serial)).group_by(first.c.model)
        is_newest = sa.tuple_(columns.model, columns.serial).in_(newest)
        deciding = sa.select(*(columns[name] for name in Milestone._fields))
        deciding = deciding.where(sa.or_(columns.phase.in_(("moved", "undone")), is_newest))
        with self._readable_errors(), self._engine.connect() as connection:
            found: dict[str, list[Milestone]] = {}
            for row in connection.execute(deciding.order_by(columns.model, columns.serial)):
                found.setdefault(row[0], []).append(Milestone._make(row))
            versions = sa.select(first.c.model, sa.func.count()).group_by(first.c.model)
            counts = dict(connection.execute(versions).tuples().all())
            return {
                model: Outline(found.get(model, []), counts.get(model, 0), last, bool(settled))
                for model, last, settled in sorted(connection.execute(states).tuples())
            }

    def unsettled(self) -> list[str]:
        """Names of models with an attempt that is neither done nor undone, sorted: one pass over the table."""
        models = sa.select(table.c.model).group_by(table.c.model).having(_BEGUN != _ENDED)
        with self._readable_errors(), self._engine.connect() as connection:
            return sorted(connection.execute(models).scalars())

    def verify(self, model: str) -> list[Event]:
        """Read all events of one model and prove that none was altered, removed or slipped in.

        Removing the newest events leaves a shorter, whole chain: that is only seen beside the serving pointers.

        Returns:
            The events, oldest first.

        Raises:
            DigestMismatch: the chain is broken; the message says at which serial.
        """
        events = self.events(model)
        previous = NO_HASH
        for position, event in enumerate(events, start=1):
            broken = _broken(event, position, previous)
            if broken:
                raise DigestMismatch(
                    f"The journal of {model} in {self.name} is broken at serial {position}: {broken}. "
                    "It was changed by something other than Slipway: restore it from a backup before moving anything."
                )
            previous = event.hash
        return events

    def _select(self, query: Any) -> list[Event]:
        with self._readable_errors(), self._engine.connect() as connection:
            return [Event.model_validate(dict(row)) for row in connection.execute(query).mappings()]

    def _conflict(self, model: str, serial: int) -> Conflict:
        query = table.select().where(table.c.model == model, table.c.serial == serial)
        other = next(iter(self._select(query)), None)
        if other is None:
            return Conflict(
                f"The journal of {model} is not where this process left it: serial {serial - 1} was expected as its "
                "last. Look at `status` and try again."
            )
        return Conflict(
            f"Somebody else moved {model} first: {other.kind} of version {other.version} ({other.phase}) by "
            f"{other.actor} at {other.at}. Look at `status` and try again."
        )

    def _make_table(self) -> None:
        if self._engine.dialect.name == "sqlite":
            self._use_wal()
        if sa.inspect(self._engine).has_table(table.name):
            return
        try:
            with self._engine.begin() as connection:
                connection.execute(CreateTable(table, if_not_exists=True))
        except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
            # PostgreSQL: two processes that create one table at once; the loser only checks that it is there.
            if not sa.inspect(self._engine).has_table(table.name):
                raise

    def _use_wal(self) -> None:
        """Readers never wait for a writer then. The switch itself is refused while another process is at it."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
            except sa.exc.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DBAPIError as error:
            why = next(iter(str(error.orig).splitlines()), type(error.orig).__name__)
            next_move = "Check that the database is there, has room and may be written by this user."
            if "database is locked" in why:
                next_move = (
                    f"Another process has held it for {BUSY_SECONDS} s: a backup, or a database browser? Let "
                    "that end, then try again."
                )
            raise SlipwayError(f"The journal {self.name} cannot be read or written: {why}. {next_move}") from error


def _with_driver(url: sa.URL) -> sa.URL:
    """PostgreSQL by the driver that is installed; SQLAlchemy's default is the one before it."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _set_busy_timeout(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _broken(event: Event, position: int, previous_hash: str) -> str:
    if event.serial != position:
        return f"serial {event.serial} stands there, events are missing"
    if event.prev_hash != previous_hash:
        return "it does not follow the event before it"
    if event.hash != event.computed_hash():
        return "its content is not what was written"
    return ""
