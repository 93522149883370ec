"""Whose processes `down` ends, which database `up` takes, and what it says when a service does not come up."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import HTTPServer, SimpleHTTPRequestHandler

import psutil
import pytest

from flows import down, services, up
from flows.home import Home
from flows.postgresql import PostgreSQL
from flows.services import Service
from flows.stack import MARK, Stack, _bears, end, family, is_free, mark
from flows.stack_plan import RUNS, Plan, choose_database, prepare
from tasks.foundations.errors import InputError, SlipwayError

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(1, flush=True)
"""

SETTINGS = """
import json
from prefect.settings import get_current_settings
settings = get_current_settings()
server = settings.server
secrets = [server.api.auth_string, settings.api.auth_string, server.database.password]
found = [server.database.connection_url, server.ui.api_url, server.analytics_enabled, *secrets, server.database.name]
print(json.dumps([each.get_secret_value() if hasattr(each, "get_secret_value") else each for each in found]))
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


def _remember(place, process, service="mlflow"):
    Stack(database="sqlite", processes={service: process.pid}).write(place)


def test_a_process_that_got_the_id_of_a_service_is_left_alone(place):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        _remember(place, stranger)

        assert Stack.read(place).leader(place, "mlflow") is None
        assert down.end_stack()["ended"] == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_service_is_known_whatever_the_clock_is_set_to(place, begin, monkeypatch):
    _remember(place, begin(STUBBORN))
    stack = Stack.read(place)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)

    assert stack.leader(place, "mlflow") is not None
    assert stack.leader(Home(place.root / "another"), "mlflow") is None


def test_what_has_just_been_started_runs(place, monkeypatch):
    """The system shows the environment of a new process a moment late."""
    late = iter(range(3))
    monkeypatch.setattr("flows.stack._bears", lambda *words: next(late, None) is None and _bears(*words))
    plan = Plan(place, Stack(database="sqlite"), None)
    service = Service("mlflow", 1, "", [sys.executable, "-c", "import time; time.sleep(600)"], lambda: True)

    up._start(plan, service)

    state = plan.state(service)
    end(family(place, "mlflow"), signal.SIGKILL, 5)
    os.waitpid(plan.stack.processes["mlflow"], 0)
    assert state == RUNS


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
    _remember(place, worker, "worker")

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


def test_a_password_that_cannot_be_read_is_named(place):
    postgresql = PostgreSQL(place.root, place.root / "postgresql", None)

    with pytest.raises(SlipwayError, match=r"postgresql/pgpass cannot be read \(No such file or directory\)"):
        postgresql.answers(1)


def test_a_port_that_was_taken_meanwhile_is_changed_only_while_nothing_runs(place, begin):
    stack = Stack(database="sqlite")
    stack.take_ports(place, ["mlflow", "prefect"])
    kept = dict(stack.ports)
    with socket.create_server(("127.0.0.1", kept["mlflow"])):
        stack.processes["prefect"] = begin(STUBBORN, "prefect").pid
        stack.take_ports(place, ["mlflow", "prefect"])
        assert stack.ports == kept

        stack.processes.clear()
        stack.take_ports(place, ["mlflow", "prefect"])
        assert stack.ports["prefect"] == kept["prefect"] and stack.ports["mlflow"] != kept["mlflow"]
        assert is_free(stack.ports["mlflow"])


def test_a_look_takes_no_database(place):
    with pytest.raises(InputError, match="--status starts nothing"):
        up.show_stack("sqlite")


@pytest.mark.parametrize(
    "text",
    ["{}", "", '{"database": "sqlite", "processes": {"mlflow": {"pid": 7, "born": 1.5}}}'],
    ids=["", "cut", "old"],
)
def test_a_file_that_up_has_not_written_is_named_and_what_runs_is_found_without_it(place, begin, text):
    begin(STUBBORN)
    (place.root / "stack.json").write_text(text)

    with pytest.raises(InputError, match=r"stack\.json is not as this `up` writes it. Remove the file, run .* down`"):
        up.start_stack(None)
    (place.root / "stack.json").unlink()
    assert down.end_stack()["ended"] == ["mlflow"]


def test_a_worker_is_named_anew_unless_it_runs(place, begin):
    first = prepare(place, "sqlite").stack
    second = prepare(place, None).stack
    second.processes["worker"] = begin(STUBBORN, "worker").pid
    second.write(place)

    third = prepare(place, None)

    assert first.worker and first.worker != second.worker == third.stack.worker
    assert second.worker in next(each for each in third.services if each.name == "worker").command


@pytest.mark.parametrize(
    ("workers", "answers"),
    [
        ([{"name": "up-1", "status": "OFFLINE"}, {"name": "up-0", "status": "ONLINE"}], False),
        ([{"name": "up-1", "status": "ONLINE"}], True),
        (None, False),
    ],
)
def test_a_worker_answers_while_prefect_hears_of_it(place, monkeypatch, workers, answers):
    stack = Stack(database="sqlite", worker="up-1", ports=dict.fromkeys(["mlflow", "prefect", "server"], 1))
    monkeypatch.setattr(services, "_get", lambda *_: None if workers is None else json.dumps(workers).encode())
    worker = next(each for each in Plan(place, stack, None).services if each.name == "worker")

    assert worker.answers() is answers


def test_services_inherit_no_way_to_the_databases_of_others(place, monkeypatch):
    others = "sqlite+aiosqlite:////srv/others.db"
    told = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": others,
        "PREFECT_API_DATABASE_CONNECTION_URL": others,
        "PREFECT_SERVER_DATABASE_NAME": "others",
        "PREFECT_API_DATABASE_PASSWORD": "others",
        "PREFECT_SERVER_UI_API_URL": "https://others.example.com/api",
        "PREFECT_UI_API_URL": "https://others.example.com/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "PREFECT_SERVER_API_AUTH_STRING": "own:server",
        "PREFECT_API_AUTH_STRING": "own:client",
        "PGPASSWORD": "others",
        "PGSSLMODE": "require",
        "no_proxy": "example.com",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    ports = dict.fromkeys(["mlflow", "prefect", "server"], 4321)
    prefect = Plan(place, Stack(database="sqlite", ports=ports), None).services[1]
    environment = {**services.inherited(), **prefect.environment}

    assert json.loads(subprocess.check_output([sys.executable, "-c", SETTINGS], env=environment)) == [
        f"sqlite+aiosqlite:///{place.root}/prefect/prefect.db",
        "http://127.0.0.1:4321/api",
        False,
        "own:server",
        "own:client",
        None,
        None,
    ]
    assert not [name for name in environment if name.startswith("PG")]
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.com,127.0.0.1"


def test_a_service_is_asked_past_any_proxy(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)

        assert services._get(f"http://127.0.0.1:{server.server_port}/") is not None


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
