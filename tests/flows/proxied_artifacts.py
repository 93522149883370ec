"""A stand-in for the artifacts that MLflow's server passes on: it keeps in memory what it is sent."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Proxy(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}

    def do_PUT(self) -> None:
        self.files[self.path] = self._body()
        self._answer(200, b"")

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        self._answer(404 if content is None else 200, content or b"")

    def log_message(self, *_: object) -> None: ...

    def _body(self) -> bytes:
        if length := self.headers["Content-Length"]:
            return self.rfile.read(int(length))
        found = b""
        while size := int(self.rfile.readline(), 16):  # in chunks
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def proxied_artifacts() -> Iterator[dict[str, str]]:
    """The environment of who uses it, for the block."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"SLIPWAY_STORE_URL": "mlflow-artifacts:/slipway", "MLFLOW_TRACKING_URI": uri}
        server.shutdown()
