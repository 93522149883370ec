"""Whose processes `down` ends, which database `up` takes, and what it says when a service does not come up."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from flows import down, up
from flows.home import Home
from flows.stack import MARK, Stack, Started, end, family, is_free, mark
from flows.stack_plan import choose_database
from tasks.foundations.errors import InputError, SlipwayError

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(1, flush=True)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    return Home(tmp_path)


@pytest.fixture
def begin(place):
    """Start a Python process that bears the mark of a service, and wait until it has printed."""
    started = []

    def call(code: str, service: str = "mlflow") -> psutil.Process:
        environment = {**os.environ, MARK: mark(place, service)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline()
        return psutil.Process(process.pid)

    yield call
    for process in started:
        process.kill()
        process.wait()
    end(family(place, "mlflow"), signal.SIGKILL, 5)


def _remember(place, process, born=0.0):
    started = Started(pid=process.pid, born=process.create_time() + born)
    Stack(database="sqlite", processes={"mlflow": started}).write(place)


def test_a_process_that_got_the_id_of_a_service_is_left_alone(place):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        _remember(place, psutil.Process(stranger.pid), born=-100)

        assert Stack.read(place).leader("mlflow") is None
        assert down.end_stack()["ended"] == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_ignores_sigterm_is_killed(place, begin, monkeypatch):
    monkeypatch.setattr(down, "PATIENCE_S", 0.2)
    monkeypatch.setattr(down, "REST_S", 0.2)
    process = begin(STUBBORN)
    _remember(place, process)

    assert down.end_stack()["ended"] == ["mlflow"]
    assert not family(place, "mlflow")


def test_children_of_a_killed_service_are_ended_wherever_they_went(place, begin):
    parent = begin(ORPHANING)
    deadline = time.monotonic() + 30
    while parent.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(family(place, "mlflow")) == 1

    assert down.end_stack()["ended"] == ["mlflow"]
    assert not family(place, "mlflow")


def test_a_run_of_the_worker_has_time_to_clean_up_while_the_worker_still_lives(place, begin, tmp_path):
    told = tmp_path / "told"
    run = f"""
import os, pathlib, signal, sys, time
def clean_up(*_):
    time.sleep(0.5)
    pathlib.Path({str(told)!r}).write_text(str(os.getppid()))
    sys.exit()
signal.signal(signal.SIGTERM, clean_up)
print(1, flush=True)
time.sleep(600)
"""
    worker = begin(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {run!r}])", "worker")
    started = Started(pid=worker.pid, born=worker.create_time())
    Stack(database="sqlite", processes={"worker": started}).write(place)

    assert down.end_stack()["ended"] == ["worker"]
    assert told.read_text() == str(worker.pid)


def test_a_killed_process_is_gone_when_its_last_thread_is(begin):
    """The first thread of many is often collected while others still hold the port."""
    listens = """
import socket, threading, time
listening = socket.create_server(("127.0.0.1", 0))
for _ in range(50):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(listening.getsockname()[1], flush=True)
time.sleep(60)
"""
    for _ in range(30):
        process = begin(listens)
        (port,) = {each.laddr.port for each in process.net_connections()}

        assert not end([process], signal.SIGKILL, 10)
        assert is_free(port)


def test_without_a_stack_there_is_nothing_to_show_or_end(place):
    assert up.show_stack()["exit_code"] == 1
    assert down.end_stack() == {"ended": [], "exit_code": 0, "text": "Nothing was running."}


def test_a_home_with_releases_in_sqlite_stays_there(place):
    (place.root / "journal.db").touch()

    postgresql, note = choose_database(place, None, None)

    assert postgresql is None and "journal.db is there already" in note
    with pytest.raises(InputError, match="keeps its rows in sqlite, and postgresql would know none"):
        choose_database(place, None, "postgresql")


def test_without_postgresql_it_is_sqlite_and_says_so_unless_postgresql_was_asked_for(place, monkeypatch):
    monkeypatch.setattr("flows.postgresql._installed", lambda: iter(()))

    assert choose_database(place, None, None)[1].startswith("It is SQLite: No PostgreSQL can be used: neither PATH nor")
    with pytest.raises(SlipwayError, match="No PostgreSQL can be used"):
        choose_database(place, None, "postgresql")
    with pytest.raises(SlipwayError, match="No PostgreSQL can be used"):
        choose_database(place, Stack(database="postgresql"), None)


def test_a_port_that_was_taken_meanwhile_is_changed_only_while_nothing_runs(place, begin):
    stack = Stack(database="sqlite")
    stack.take_ports(place, ["mlflow", "prefect"])
    kept = dict(stack.ports)
    with socket.create_server(("127.0.0.1", kept["mlflow"])):
        stack.processes["prefect"] = Started(pid=os.getpid(), born=psutil.Process().create_time())
        stack.take_ports(place, ["mlflow", "prefect"])
        assert stack.ports == kept

        stack.processes.clear()
        stack.take_ports(place, ["mlflow", "prefect"])
        assert stack.ports["prefect"] == kept["prefect"] and stack.ports["mlflow"] != kept["mlflow"]
        assert is_free(stack.ports["mlflow"])


def test_a_look_takes_no_database(place):
    with pytest.raises(InputError, match="--status starts nothing"):
        up.show_stack("sqlite")


def test_a_file_that_up_has_not_written_is_named(place):
    (place.root / "stack.json").write_text("{}")

    with pytest.raises(InputError, match=r"stack\.json is not as `up` writes it"):
        up.start_stack(None)


@pytest.mark.slow
def test_a_service_that_ends_is_shown_with_the_end_of_its_log(place):
    """MLflow's database is no database; what was started beside it is ended by `down`."""
    (place.root / "mlflow").mkdir()
    (place.root / "mlflow" / "mlflow.db").write_text("no database, " * 100)
    try:
        with pytest.raises(
            SlipwayError, match=r"mlflow ended\. The end of its log, .*mlflow\.log:\n(.|\n)*not a database"
        ):
            up.start_stack("sqlite")
    finally:
        down.end_stack()
