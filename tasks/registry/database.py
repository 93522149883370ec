"""MLflow's SQLite database, made whole or not at all.

MLflow builds a new one by all its migrations in turn, and SQLite keeps each step at once: a process that is killed in
the middle leaves tables that every later start tries to create again, and fails.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tasks.foundations.locks import hold

PREFIX = "sqlite:///"
MAKING = ".making-"


def make_database(tracking_uri: str) -> None:
    """Make the database of an SQLite tracking URI if it is not there; who comes meanwhile waits. Takes 1 to 3 s."""
    path = Path(tracking_uri.removeprefix(PREFIX))
    if not tracking_uri.startswith(PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_suffix(".lock"), "the first use of MLflow"):
        for left in path.parent.glob(f"{MAKING}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not path.exists():
            _make(path)


def _make(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=MAKING) as folder:
        made, copy = Path(folder, "made.db"), Path(folder, "copy.db")
        _migrate(f"{PREFIX}{made}")
        # A copy, because MLflow keeps connections to the original, and part of it may lie in its write-ahead log.
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        copy.replace(path)


def _migrate(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
