"""One serving process from its start to its last answer: sockets, models, both ports, signals.

With several workers this process only keeps them alive (see `workers`); each of them is a node of its own.
"""

import asyncio
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.foundations.errors import SlipwayError
from tasks.foundations.json_lines import JsonFormatter
from tasks.serving.nodes import Node, register
from tasks.serving.server.settings import ServeSettings

Announce = Callable[[dict[str, Any]], None]

BACKLOG = 2048
KEEP_ALIVE_S = 75
FAREWELL_S = 1.0
"""How long answers carry `Connection: close` before the port is closed: clients come back elsewhere, unharmed."""
PARENT_POLL_S, PARENT_GRACE_S = 0.2, 5.0
BACKLOG_S = 0.1
"""How long connections that the system has made already are still taken."""
SWITCH_INTERVAL_S = 0.001
"""How long a thread that loads a version may keep the interpreter from the one that answers."""

log = logging.getLogger(__name__)


def run(settings: ServeSettings, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight and return.

    Args:
        settings: see there.
        announce: called once with `{"url", "admin", "grpc", "pid", "models"}` when the first models were loaded, or
            could not be.

    Raises:
        SlipwayError: a port is taken, the serving folder is not there, or a pinned version cannot be served.
    """
    if settings.workers > 1:
        from tasks.serving.server.workers import supervise

        supervise(settings, announce)
    else:
        run_one(settings, listen(settings.host, settings.port), announce)


def run_one(settings: ServeSettings, public: socket.socket, announce: Announce) -> None:
    """Serve in this process, on a socket that listens already."""
    import uvloop

    log_to_stderr(settings.json_log)
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    uvloop.run(_serve(settings, public, announce))


def _raise_file_limit() -> None:
    """A connection is an open file; the soft limit of most systems, 1,024, is reached by one flood."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def log_to_stderr(as_json: bool) -> None:
    """One line an event; what uvicorn says of its own start and of clients' bad bytes is noise."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        SlipwayError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        raise SlipwayError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}. Name another --host or --port, or stop "
            "the process that has it."
        ) from error
    return found


def address_of(bound: socket.socket) -> str:
    """`http://127.0.0.1:8080`; a socket on every address is named by this machine's."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _serve(settings: ServeSettings, public: socket.socket, announce: Announce) -> None:
    from tasks.serving.server.admin import admin
    from tasks.serving.server.app import App
    from tasks.serving.server.host import Host
    from tasks.serving.server.metrics import metrics

    host = Host(settings, metrics())
    private = listen(settings.admin_host, settings.admin_port)
    node = _node(settings, public, private)
    stop = _stop_on_signals(settings)
    if settings.load_first:
        await host.start()
    async with _port(App(host), public, settings), _port(admin(host, node.id, node.pid), private, settings):
        if not settings.load_first:
            await host.start()
        _refuse_unloaded_pin(settings, host)
        async with _grpc(settings, host) as grpc:
            gc.collect()
            gc.freeze()  # what is there now stays: no collection has to look at it again
            known = None if settings.pinned else node
            if known:
                _register(settings, known)
            watching = asyncio.create_task(host.watch(known))
            announce({"url": node.url, "admin": node.admin, "grpc": grpc, "pid": node.pid, "models": _versions(host)})
            await stop.wait()
            log.info("stopping: requests in flight are answered")
            watching.cancel()
            await _take_leave(settings, host, known, public)
    host.count()
    if host.traces is not None:
        host.traces.close()


async def _take_leave(settings: ServeSettings, host: Any, node: Node | None, public: socket.socket) -> None:
    """Have clients and moves go elsewhere while everything is still answered."""
    host.draining = True
    if node:
        host.leave(node)
    if not settings.pinned:
        await asyncio.sleep(min(FAREWELL_S, settings.drain_s))
        if settings.parent is None:  # one of several on a port leaves the socket to the process that has opened it
            await close_gently(public)


async def close_gently(public: socket.socket) -> None:
    """Let no new connection in, and have those that wait accepted: closing would reset them."""
    public.listen(0)
    await asyncio.sleep(BACKLOG_S)


def _register(settings: ServeSettings, node: Node) -> None:
    try:
        register(Path(settings.root), node)
    except OSError as error:
        log.warning("moves cannot see this server and will not wait for it: its file cannot be written (%s)", error)


def _versions(host: Any) -> dict[str, int | None]:
    return {name: model.current.version if model.current else None for name, model in host.models.items()}


def _refuse_unloaded_pin(settings: ServeSettings, host: Any) -> None:
    for name in settings.pinned:
        failed = host.models[name].failed
        if failed is not None:
            raise SlipwayError(failed.reason)


def _node(settings: ServeSettings, public: socket.socket, private: socket.socket) -> Node:
    machine = socket.gethostname()
    return Node(
        id=f"{machine}-{os.getpid()}-{secrets.token_hex(4)}",
        host=machine,
        pid=os.getpid(),
        url=address_of(public),
        admin=address_of(private),
        models=settings.models,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _stop_on_signals(settings: ServeSettings) -> asyncio.Event:
    """Set by SIGTERM and SIGINT; a child that was started for one purpose also ends with its parent."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # with nohup it goes on
            loop.add_signal_handler(number, stop.set)
    if settings.parent is not None:
        threading.Thread(target=_follow_parent, args=(settings.parent,), daemon=True, name="parent").start()
    return stop


def _follow_parent(parent: int) -> None:
    """End with the parent, also while a model keeps the event loop busy."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PARENT_GRACE_S)
    os._exit(1)


@asynccontextmanager
async def _port(app: Any, listening: socket.socket, settings: ServeSettings) -> AsyncIterator[None]:
    """Answer on a socket; at the end requests in flight are answered before this returns."""
    import uvicorn

    from tasks.serving.server.protocol import LimitedProtocol

    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # ours end both ports and the models
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _grpc(settings: ServeSettings, host: Any) -> AsyncIterator[str | None]:
    if settings.grpc_port is None:
        yield None
        return
    from tasks.serving.server.grpc_v2 import service

    server, port = await service.start(host, settings.host, settings.grpc_port)
    try:
        yield f"[{settings.host}]:{port}" if ":" in settings.host else f"{settings.host}:{port}"
    finally:
        await service.stop(server, settings.drain_s)
