"""MLflow's database is there whole or not at all, whoever is killed while it is made."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.registry.connection import connect
from tasks.registry.database import MAKING
from tasks.registry.records import Place

MAKE = "import sys; from tasks.registry.database import make_database; make_database(sys.argv[1])"


def test_a_process_killed_while_it_makes_the_database_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    maker = subprocess.Popen([sys.executable, "-c", MAKE, f"sqlite:///{database}"])
    try:
        end = time.monotonic() + 60
        while not any(file.stat().st_size for file in tmp_path.glob(f"{MAKING}*/made.db")):
            assert maker.poll() is None and time.monotonic() < end, "it never began, or was faster than this look"
            time.sleep(0.002)
    finally:
        os.kill(maker.pid, signal.SIGKILL)
        maker.wait()
    assert not database.exists() and list(tmp_path.glob(f"{MAKING}*"))

    client = connect(Place(tracking_uri=f"sqlite:///{database}", artifact_location=str(tmp_path), experiment="e"))

    assert [each.name for each in client.search_experiments()] == ["Default"]
    assert not list(tmp_path.glob(f"{MAKING}*"))


def test_two_that_come_at_once_get_the_same_database(tmp_path: Path) -> None:
    database = tmp_path / "new" / "mlflow.db"
    makers = [subprocess.Popen([sys.executable, "-c", MAKE, f"sqlite:///{database}"]) for _ in range(2)]

    assert [maker.wait(120) for maker in makers] == [0, 0]
    assert {file.name for file in database.parent.iterdir()} == {"mlflow.db", "mlflow.lock"}
