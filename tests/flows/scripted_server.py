"""A server that answers what a test says, request by request: refusals, broken answers and changes of version."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "onnx",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}


@dataclass(frozen=True)
class Say:
    """One answer; after `hang_up` the connection is closed without a word."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False
    hang_up: bool = False


def told(content: Any, status: int = 200, **headers: str) -> Say:
    """A JSON answer."""
    return Say(status, json.dumps(content).encode(), {name.replace("_", "-"): word for name, word in headers.items()})


def values(*numbers: float, version: str = "1", **parameters: Any) -> Say:
    """Outputs in JSON."""
    output = {"name": "y", "datatype": "FP32", "shape": [len(numbers)], "data": list(numbers)}
    return told({"model_name": "m", "model_version": version, "outputs": [output], **parameters})


def in_binary(numbers: np.ndarray[Any, Any], datatype: str = "FP32", version: str = "1") -> Say:
    """Outputs in the binary extension."""
    tail = numbers.tobytes()
    output = {
        "name": "y",
        "datatype": datatype,
        "shape": list(numbers.shape),
        "parameters": {"binary_data_size": len(tail)},
    }
    head = json.dumps({"model_name": "m", "model_version": version, "outputs": [output]}).encode()
    return Say(200, head + tail, {"Inference-Header-Content-Length": str(len(head))})


@dataclass
class Scripted:
    """What was asked: (method and path, body) in order, and how many connections it took."""

    url: str = ""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0

    @property
    def paths(self) -> list[str]:
        """Method and path of every request."""
        return [path for path, _ in self.asked]


@contextmanager
def scripted(*answers: Say) -> Iterator[Scripted]:
    """Answer with these in order, and with 500 when there are no more."""
    script, left = Scripted(), list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body go at once

        def setup(self) -> None:
            super().setup()
            script.connections += 1

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.asked.append((f"{self.command} {self.path}", body))
            say = left.pop(0) if left else Say(500, b"nothing more to say")
            self.close_connection = say.close or say.hang_up
            if say.hang_up:
                return
            self.send_response(say.status)
            for name, word in say.headers.items():
                self.send_header(name, word)
            self.send_header("Content-Length", str(len(say.body)))
            self.end_headers()
            self.wfile.write(say.body)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
