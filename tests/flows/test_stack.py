"""`up` and `down`: the stack as processes, with PostgreSQL and with SQLite, mended after a kill, gone at the end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest

from flows.postgresql import find
from flows.stack import runs
from tasks.foundations.errors import SlipwayError
from tests.flows.full_prefect import FullServer, until
from tests.flows.installation import Installation

pytestmark = pytest.mark.slow

OTHERS = {  # what whoever calls `up` may have set for servers of others
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/others.db",
    "PREFECT_SERVER_UI_API_URL": "https://others.example.com/api",
    "PGPASSWORD": "of-others",
    "PGHOSTADDR": "127.0.0.2",
    "PGSSLMODE": "require",
    "http_proxy": "http://127.0.0.1:9",
}


class World:
    """A stack that two commands have started at once."""

    def __init__(self, folder: Path, database: str) -> None:
        self.database = database
        self.installation = Installation(folder)
        own = self.installation.environment
        self.installation.environment = own | OTHERS
        both = [self.installation.start("up", "--database", database) for _ in range(2)]
        self.first, self.second = (running.end() for running in both)
        assert self.first.code == 0, self.first.log
        self.environment = self.first.json["environment"]
        self.installation.environment = own | self.environment

    def up(self, *words):
        return self.installation.run("up", *words)

    def processes(self):
        """All that bear the stack's mark, whoever started them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SLIPWAY_SERVICE", "").startswith(f"{self.installation.home}:"):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def world(request):
    folder = Path(tempfile.mkdtemp(prefix="slipway-stack-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user, who has to get there
    try:
        if request.param == "postgresql":
            _need_postgresql(folder)
        started = World(folder, request.param)
        yield started
    finally:
        assert Installation(folder).run("down").code == 0
        shutil.rmtree(folder)


def _need_postgresql(folder):
    try:
        find(folder)
    except SlipwayError as reason:
        pytest.skip(str(reason))


def _rows(answer):
    return {row["name"]: row for row in answer.json["services"]}


def _get(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read().decode()


def test_all_services_answer_and_only_on_loopback(world):
    rows = _rows(world.first)

    assert {row["state"] for row in rows.values()} == {"running"}
    assert ("postgresql" in rows) == (world.database == "postgresql")
    assert _get(f"{world.environment['MLFLOW_TRACKING_URI']}/health") == "OK"
    assert _get(f"{world.environment['PREFECT_API_URL']}/health") == "true"
    assert world.environment["PREFECT_API_URL"] in _get(f"{rows['prefect']['address']}/ui-settings")
    assert "true" in _get(f"{rows['server']['address']}/v2/health/live")
    listening = [each for process in world.processes() for each in process.net_connections("inet") if not each.raddr]
    assert listening and {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_two_that_start_at_once_start_one_stack(world):
    assert world.second.code == 0, world.second.log
    assert world.second.json["services"] == world.first.json["services"]
    assert sorted(world.first.json["started"] + world.second.json["started"]) == sorted(_rows(world.first))


def test_another_up_changes_nothing(world):
    again = world.up()

    assert again.json == {**world.first.json, "started": []}
    assert world.up("--status").json["services"] == again.json["services"]


def test_a_deployed_run_is_run_by_the_worker_on_the_journal_of_the_stack(world):
    installation = world.installation
    assert installation.run("deploy", installation.config()).code == 0
    prefect = FullServer(installation.folder)
    prefect.api = world.environment["PREFECT_API_URL"]

    run = prefect.ended(prefect.press_run("release/tiny", {"dry_run": True}))

    assert run["state_type"] == "COMPLETED", prefect.logs(run["id"])
    until(lambda: "tiny: nothing is in production" in prefect.logs(run["id"]), "the log does not say it", 30)
    if world.database == "sqlite":
        assert (installation.home / "journal.db").is_file()
    else:
        assert _tables(world) == ["journal"] and not (installation.home / "journal.db").exists()


def test_the_database_wants_its_password_which_only_its_owner_can_read(world):
    if world.database == "sqlite":
        assert "PGPASSFILE" not in world.environment
        return
    passwords = Path(world.environment["PGPASSFILE"])

    assert passwords.stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(world.environment["SLIPWAY_JOURNAL_URL"], password="wrong")
    secret = passwords.read_text().strip().rpartition(":")[2]
    assert not [process for process in world.processes() if secret in str((process.cmdline(), process.environ()))]


def test_what_was_killed_is_started_again_on_its_port_and_nothing_else(world):
    before = _rows(world.first)
    victims = {"mlflow", *({"postgresql"} & before.keys())}
    for name in victims:
        psutil.Process(before[name]["pid"]).kill()
        until(lambda name=name: not psutil.pid_exists(before[name]["pid"]), f"{name} does not end", 30)
    seen = world.up("--status")

    mended = world.up()

    assert seen.code == 1 and "mlflow is not running" in seen.json["error"]
    assert mended.code == 0, mended.json
    assert set(mended.json["started"]) == victims
    after = _rows(mended)
    assert {name: row["address"] for name, row in after.items()} == {k: row["address"] for k, row in before.items()}
    assert {name for name in after if after[name]["pid"] != before[name]["pid"]} == victims
    assert _get(f"{world.environment['MLFLOW_TRACKING_URI']}/health") == "OK"


def test_a_worker_that_hangs_does_not_answer_until_it_goes_on(world):
    if world.database == "postgresql":
        return  # it would be the same worker, for another minute
    worker = _rows(world.up("--status"))["worker"]
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        until(lambda: _rows(world.up("--status"))["worker"]["state"] == "not answering", "it counts as running", 90)
    finally:
        os.kill(worker["pid"], signal.SIGCONT)

    until(lambda: _rows(world.up("--status"))["worker"] == worker, "it does not answer again", 60)


def test_a_shell_takes_the_password_from_the_file(world):
    script = (
        f"export PGPASSWORD=wrong; . {world.installation.home}/stack.sh; echo ${{PGPASSWORD-unset}} $PREFECT_API_URL"
    )
    said = subprocess.check_output(["sh", "-c", script], text=True).split()

    assert said == ["unset" if world.database == "postgresql" else "wrong", world.environment["PREFECT_API_URL"]]


def test_the_other_database_is_refused(world):
    refused = world.up("--database", {"sqlite": "postgresql", "postgresql": "sqlite"}[world.database])

    assert refused.code == 2 and f"keeps its rows in {world.database}" in refused.json["error"]


def test_down_ends_all_of_it_and_keeps_what_was_written(world):
    before, rows = world.processes(), _rows(world.up("--status"))
    kept = [world.installation.home / name for name in ("stack.json", "logs/prefect.log")]

    ended = world.installation.run("down")

    assert ended.code == 0 and set(ended.json["ended"]) == set(rows)
    assert not [process for process in before if runs(process)] and not world.processes()
    for row in rows.values():
        if ":" in row["address"]:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", int(row["address"].rpartition(":")[2])))
    assert all(path.is_file() for path in kept) and not (world.installation.home / "stack.sh").exists()
    assert world.installation.run("down").json == {"ended": [], "exit_code": 0}


def _tables(world):
    url = world.environment["SLIPWAY_JOURNAL_URL"]
    with psycopg.connect(url, passfile=world.environment["PGPASSFILE"]) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [name for (name,) in found]
