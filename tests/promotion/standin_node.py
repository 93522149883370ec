"""A process that speaks a server's admin protocol and loads nothing: it can fail, lag, hang and be killed."""

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tasks.serving.nodes import Node, register
from tasks.serving.pointer import Pointer, read


class StandIn:
    """One node; `asked` is every serial that it was told to follow, `serves` what it answers with now."""

    def __init__(self, root: Path, bad: tuple[int, ...], lagging: bool, deadly: tuple[int, ...], other: bool) -> None:
        self.root = root
        self.log = root.parent / f"node-{len(list(root.parent.glob('node-*')))}.log"
        self.log.touch()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(bad, lagging, deadly, other))
        self.process = multiprocessing.get_context("fork").Process(target=self._server.serve_forever, daemon=True)
        self.process.start()
        self._server.server_close()  # the child's copy listens
        assert self.process.pid is not None
        self.pid = self.process.pid
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        register(
            root,
            Node(
                id=f"node-{self.pid}",
                host=socket.gethostname(),
                pid=self.pid,
                url=self.url,
                admin=self.url,
                started="2026-11-28T00:00:00+00:00",
            ),
        )

    @property
    def asked(self) -> list[int]:
        return [json.loads(line)["asked"] for line in self.log.read_text().splitlines()]

    @property
    def serves(self) -> int | None:
        lines = self.log.read_text().splitlines()
        return json.loads(lines[-1])["serves"] if lines else None

    def hang(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def _handler(
        self, bad: tuple[int, ...], lagging: bool, deadly: tuple[int, ...], other: bool
    ) -> type[BaseHTTPRequestHandler]:
        root, log = self.root, self.log
        now: dict[str, Any] = {"pointer": None, "failed": None}

        def follow(model: str, serial: int) -> dict[str, Any]:
            wanted = read(root / "onnx_server" / model)
            if wanted is not None and wanted.version in deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            if wanted is not None and wanted.version in bad:
                about = {"serial": wanted.serial, "version": wanted.version, "digest": wanted.digest}
                now["failed"] = {**about, "reason": "a file was cut off"}
            elif wanted is not None and not lagging:
                now.update(pointer=wanted, failed=None)
            served: Pointer | None = now["pointer"]
            with log.open("a") as stream:
                stream.write(json.dumps({"asked": serial, "serves": served.version if served else None}) + "\n")
            return {
                "serial": served.serial if served else 0,
                "version": served.version if served else None,
                "digest": ("x" if other else served.digest) if served else None,
                "loading": None,
                "failed": now["failed"],
            }

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                url = urlsplit(self.path)
                entry = follow(url.path.rpartition("/")[2], int(parse_qs(url.query)["serial"][0]))
                content = json.dumps(entry).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def node(
    root: Path,
    *,
    bad: tuple[int, ...] = (),
    lagging: bool = False,
    deadly: tuple[int, ...] = (),
    other: bool = False,
) -> Iterator[StandIn]:
    """A node that runs during the block.

    Args:
        root: the serving folder.
        bad: versions that it says it cannot load.
        lagging: it answers, and never follows.
        deadly: versions that kill it.
        other: it serves other bytes under the version's number.
    """
    started = StandIn(root, bad, lagging, deadly, other)
    try:
        yield started
    finally:
        started.kill()
