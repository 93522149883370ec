"""What the stack consists of: how each service is started, where it is, and how one asks whether it answers."""

import base64
import json
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flows.home import Home
from flows.postgresql import PostgreSQL
from flows.stack import HOST, Stack
from tasks.registry.connection import SETTINGS as MLFLOW_SETTINGS

POOL = "slipway"
ASK_S = 3
HEARTBEAT_S = 10  # of the worker; with Prefect's own 30 s a dead one would count as online for 90 s
OTHERS = ("PG", "PREFECT_SERVER_", "PREFECT_API_DATABASE_")
"""How variables begin that name another database, or a way to one: each would be preferred to what stands here."""
LOGIN = "PREFECT_SERVER_API_AUTH_STRING"
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NEVER_TRACK = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Service:
    """One process, with what descends from it.

    Attributes:
        name: as the table shows it.
        stage: what has a lower one must answer before this is started.
        address: where people and clients find it.
        command: how it is started.
        answers: whether it does.
        environment: beside what is inherited.
        account: the user that it runs as; None for the present one.
    """

    name: str
    stage: int
    address: str
    command: list[str]
    answers: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    account: str | None = None


def names(stack: Stack) -> list[str]:
    """Services that have a port, in the order in which they are started."""
    return [*(["postgresql"] if stack.database == "postgresql" else []), "mlflow", "prefect", "server"]


def exports(home: Home, stack: Stack, postgresql: PostgreSQL | None) -> dict[str, str]:
    """What a shell needs, so that commands use the stack; the worker's environment has the same."""
    found = {
        "SLIPWAY_HOME": str(home.root),
        "PREFECT_API_URL": f"{_url(stack, 'prefect')}/api",
        "MLFLOW_TRACKING_URI": _url(stack, "mlflow"),
        "SLIPWAY_JOURNAL_URL": f"sqlite:///{home.root / 'journal.db'}",
    }
    if postgresql:
        found["SLIPWAY_JOURNAL_URL"] = postgresql.url(stack.ports["postgresql"], "slipway")
        found["PGPASSFILE"] = str(postgresql.passwords)
    return found


def inherited() -> dict[str, str]:
    """What services take over from the environment of `up`: all but what names others; and no proxy to each other."""
    kept = {name: value for name, value in os.environ.items() if name == LOGIN or not name.startswith(OTHERS)}
    outside = kept.get("no_proxy") or kept.get("NO_PROXY") or ""
    direct = outside if outside == "*" else ",".join(filter(None, [outside, HOST]))
    return {**kept, "no_proxy": direct, "NO_PROXY": direct}


def services(home: Home, stack: Stack, postgresql: PostgreSQL | None) -> list[Service]:
    """All of them, in the order in which they are started."""
    found = [_mlflow(home, stack, postgresql), _prefect(home, stack, postgresql), _server(home, stack)]
    found.append(_worker(home, stack, exports(home, stack, postgresql)))
    return [_postgresql(stack, postgresql), *found] if postgresql else found


def _postgresql(stack: Stack, postgresql: PostgreSQL) -> Service:
    port = stack.ports["postgresql"]
    return Service(
        name="postgresql",
        stage=0,
        address=f"{HOST}:{port}",
        command=postgresql.command(port),
        answers=lambda: postgresql.answers(port),
        account=postgresql.account,
    )


def _mlflow(home: Home, stack: Stack, postgresql: PostgreSQL | None) -> Service:
    url = _url(stack, "mlflow")
    folder = home.root / "mlflow"
    folder.mkdir(exist_ok=True)
    rows, secret = f"sqlite:///{folder / 'mlflow.db'}", {}
    if postgresql:
        rows = postgresql.url(stack.ports["postgresql"], "mlflow", "postgresql+psycopg")
        secret = {"PGPASSFILE": str(postgresql.passwords)}
    where = ["--backend-store-uri", rows, "--artifacts-destination", home.mlflow_artifacts.as_uri()]
    return Service(
        name="mlflow",
        stage=1,
        address=url,
        command=_python("mlflow", "server", *_listen(stack, "mlflow"), "--workers", "1", "--serve-artifacts", *where),
        answers=lambda: _get(f"{url}/health") is not None,
        environment=MLFLOW_SETTINGS | secret,
    )


def _prefect(home: Home, stack: Stack, postgresql: PostgreSQL | None) -> Service:
    url = _url(stack, "prefect")
    folder = home.root / "prefect"
    folder.mkdir(exist_ok=True)
    rows, secret = f"sqlite+aiosqlite:///{folder / 'prefect.db'}", {}
    if postgresql:
        rows = postgresql.url(stack.ports["postgresql"], "prefect", "postgresql+asyncpg")
        secret = {"PGPASSFILE": str(postgresql.passwords)}
    return Service(
        name="prefect",
        stage=1,
        address=url,
        command=_python("prefect", "server", "start", *_listen(stack, "prefect")),
        answers=lambda: _get(f"{url}/api/health") is not None,
        environment={
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": rows,
            "PREFECT_API_URL": f"{url}/api",
            "PREFECT_SERVER_UI_API_URL": f"{url}/api",  # its pages ask port 4200 otherwise
            **NEVER_TRACK,
            **secret,
        },
    )


def _server(home: Home, stack: Stack) -> Service:
    url = _url(stack, "server")
    return Service(
        name="server",
        stage=1,
        address=url,
        command=_python("flows", "serve", *_listen(stack, "server")),
        answers=lambda: _get(f"{url}/v2/health/live") is not None,
        environment={"SLIPWAY_HOME": str(home.root)},
    )


def _worker(home: Home, stack: Stack, environment: dict[str, str]) -> Service:
    return Service(
        name="worker",
        stage=2,
        address=f"pool {POOL}",
        command=_python("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", stack.worker),
        answers=lambda: _is_online(environment["PREFECT_API_URL"], stack.worker),
        environment={
            **environment,
            "PREFECT_HOME": str(home.root / "prefect"),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_S),
            **NEVER_TRACK,
        },
    )


def _is_online(api: str, name: str) -> bool:
    """Whether Prefect hears of a worker: it counts as gone when it has missed three heartbeats."""
    found = _get(f"{api}/work_pools/{POOL}/workers/filter", {"workers": {"status": {"any_": ["ONLINE"]}}})
    return any((each["name"], each["status"]) == (name, "ONLINE") for each in json.loads(found or "[]"))


def _get(url: str, data: dict[str, Any] | None = None) -> bytes | None:
    """What is answered; None if nothing is, or a refusal."""
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):  # where the user has closed Prefect's API with it
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    body = None if data is None else json.dumps(data).encode()
    try:
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own http address
        with DIRECTLY.open(request, timeout=ASK_S) as reply:
            return bytes(reply.read())
    except OSError:
        return None


def _url(stack: Stack, name: str) -> str:
    return f"http://{HOST}:{stack.ports[name]}"


def _listen(stack: Stack, name: str) -> list[str]:
    return ["--host", HOST, "--port", str(stack.ports[name])]


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]
