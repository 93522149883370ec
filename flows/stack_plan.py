"""What the stack of an installation is to be: which database, which services, what a shell needs to use them."""

from dataclasses import dataclass
from pathlib import Path

from flows.home import Home
from flows.postgresql import PostgreSQL, find
from flows.services import Service, exports, names, services
from flows.stack import Database, Stack
from tasks.foundations.errors import InputError, SlipwayError
from tasks.registry.connection import prepare as prepare_mlflow
from tasks.registry.database import make_database

RUNS, SILENT, DOWN = "running", "not answering", "not running"


@dataclass(frozen=True)
class Plan:
    """The stack of an installation as it is to be.

    Attributes:
        home: its folders.
        stack: what is remembered.
        postgresql: None with SQLite.
    """

    home: Home
    stack: Stack
    postgresql: PostgreSQL | None

    @property
    def services(self) -> list[Service]:
        """All services, in the order in which they are started."""
        return services(self.home, self.stack, self.postgresql)

    @property
    def exports(self) -> dict[str, str]:
        """The variables that a shell needs."""
        return exports(self.home, self.stack, self.postgresql)

    def log(self, name: str) -> Path:
        """Where a service writes."""
        return self.home.logs / f"{name}.log"

    def state(self, service: Service) -> str:
        """Whether it runs and answers."""
        if self.stack.leader(self.home, service.name) is None:
            return DOWN
        return RUNS if service.answers() else SILENT


def prepare(place: Home, asked: Database | None) -> Plan:
    """Choose database, ports and names, make PostgreSQL's data or MLflow's file where missing, and remember all of it.

    Raises:
        InputError: another database than the one that is used already.
        SlipwayError: PostgreSQL is used already, or asked for, and cannot be.
    """
    stack = Stack.read(place)
    postgresql, note = choose_database(place, stack, asked)
    if postgresql:
        postgresql.initialise()
    else:  # its server would leave half a database behind if it were killed meanwhile
        prepare_mlflow()
        make_database(f"sqlite:///{place.root / 'mlflow' / 'mlflow.db'}")
    stack = stack or Stack(database="postgresql" if postgresql else "sqlite", note=note)
    stack.take_ports(place, names(stack))
    stack.name_worker(place)
    stack.write(place)
    return Plan(place, stack, postgresql)


def look(place: Home, stack: Stack) -> Plan:
    """The stack as it was started last; nothing is changed.

    Raises:
        SlipwayError: its PostgreSQL is not there any more.
    """
    return Plan(place, stack, find(place.root) if stack.database == "postgresql" else None)


def choose_database(place: Home, stack: Stack | None, asked: Database | None) -> tuple[PostgreSQL | None, str]:
    """PostgreSQL, or why it is SQLite: what was kept in one is never looked for in the other."""
    rows = [path for path in (place.root / "journal.db", place.root / "mlflow" / "mlflow.db") if path.exists()]
    kept = stack.database if stack else "sqlite" if rows else None
    if kept and asked and asked != kept:
        raise InputError(
            f"{place.root} keeps its rows in {kept}, and {asked} would know none of them. Leave --database out, or let "
            "SLIPWAY_HOME name another folder."
        )
    if (asked or kept) == "sqlite":
        found = [f"It is SQLite, since {row} is there already; PostgreSQL needs another SLIPWAY_HOME." for row in rows]
        return None, "" if asked or not found else found[0]
    try:
        return find(place.root), ""
    except SlipwayError as reason:
        if asked or kept:
            raise
        return None, f"It is SQLite: {reason}"
