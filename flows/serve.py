"""`serve`: the embedded server in this process. It imports only what `requirements-serve.lock` installs."""

import errno
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flows.diary import wants_json, wants_traces
from flows.home import Home, home
from tasks.foundations.checkout import CHECKOUT
from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.words import suggest
from tasks.serving.nodes import KIND
from tasks.serving.server.settings import ServeSettings

Announce = Callable[[dict[str, Any]], None]
UNUSABLE = {
    errno.EADDRINUSE: "another process listens there. End it, or give another number with {option}",
    errno.EACCES: "this user may not listen on it. Take one above 1023 with {option}",
    errno.EADDRNOTAVAIL: "this machine has no such address. Give one of its own, or 0.0.0.0 for all, with {host}",
}


def serving_folder() -> Path:
    """The serving folder of this installation; it need not be there, and is not made."""
    return Home(Path(os.environ.get("SLIPWAY_HOME") or CHECKOUT / ".slipway").expanduser().resolve()).serving


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        models: those to serve; empty for all.
        root: the serving folder; None for this installation's.
        max_body_mb: of one request, in units of 10^6 bytes.
        rest: further fields of `ServeSettings`, as they are.
    """

    models: tuple[str, ...]
    root: Path | None
    max_body_mb: float
    rest: dict[str, Any]


def serve(options: Options, as_json: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; returns when the requests in flight are answered.

    Raises:
        InputError: no such folder, model or host.
        SlipwayError: a port cannot be had.
    """
    settings = settings_of(options)
    _check_ports(settings)
    from tasks.serving.server.run import run

    run(settings, lambda where: _announce(where, settings, as_json))


def settings_of(options: Options) -> ServeSettings:
    """What the server is told.

    Raises:
        InputError: no such folder or model.
    """
    root = _root(options.root)
    folder = root / KIND
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    for model in options.models:
        if model not in known:
            raise InputError(
                f"There is no model {model!r} in {folder}. There {'are' if len(known) > 1 else 'is'} "
                f"{', '.join(known) or 'none; the first release of a config with this serving kind makes it'}."
                f"{suggest(model, known)}"
            )
    size = round(options.max_body_mb * 10**6)
    return ServeSettings(
        root=str(root),
        models=tuple(dict.fromkeys(options.models)),
        max_body_bytes=size,
        json_log=wants_json(),
        traces=wants_traces(),
        **options.rest,
    )


def _root(given: Path | None) -> Path:
    if given is not None:
        if not given.is_dir():
            raise InputError(f"{given} is no folder. --root names a serving folder, one that holds {KIND}/.")
        return given.resolve()
    if not os.environ.get("SLIPWAY_HOME") and not (CHECKOUT / "pyproject.toml").is_file():
        raise InputError(
            "Which folder to serve? Slipway is installed here without its checkout: name the serving folder with "
            "--root, or the home that holds it with SLIPWAY_HOME."
        )
    return home().serving


def _check_ports(settings: ServeSettings) -> None:
    """Try the addresses before anything is loaded: the answer comes at once, and names the option."""
    asked = [
        (settings.host, settings.port, "--host", "--port"),
        (settings.admin_host, settings.admin_port, "--admin-host", "--admin-port"),
        (settings.host, settings.grpc_port, "--host", "--grpc-port"),
    ]
    taken: dict[int, str] = {}
    for host, port, host_option, option in asked:
        if port and port in taken:
            raise InputError(f"{taken[port]} and {option} are both {port}. Give them different numbers.")
        if port is not None:
            _try(host, port, host_option, option)
            taken |= {port: option} if port else {}


def _try(host: str, port: int, host_option: str, option: str) -> None:
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(f"{host_option} {host}: no such host. Expected an address of this machine.") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            reason = UNUSABLE.get(error.errno or 0, f"{error.strerror}. Try another with {{option}}")
            sentence = reason.format(option=option, host=host_option)
            raise SlipwayError(f"Port {port} of {host} cannot be used: {sentence}.") from error


def _announce(where: dict[str, Any], settings: ServeSettings, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(where))  # echo flushes
        return
    grpc = f", gRPC on {where['grpc']}" if where.get("grpc") else ""
    click.echo(
        f"Serving {_served(where['models'])} on {where['url']}{grpc}; admin and metrics on {where['admin']}. "
        "Stop with Ctrl-C or SIGTERM.",
        err=True,
    )


def _served(models: Any) -> str:
    """`digits (version 3), churn (nothing yet)`; the announcement may name models alone or with their versions."""
    pairs = models.items() if isinstance(models, dict) else ((name, None) for name in models)
    words = [
        f"{name} (version {version})" if version is not None else f"{name} (nothing yet)" for name, version in pairs
    ]
    return ", ".join(words) or "no model yet; the first that is promoted will be"
