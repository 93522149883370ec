"""A collector of traces: what OpenTelemetry's exporter sends over HTTP, read with its own messages."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """The spans that have come so far, in plain values."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.url = ""

    def add(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = next(
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            self.spans += [_plain(span, service) for scope in resource.scope_spans for span in scope.spans]

    def until(self, found: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            for span in self.spans:
                if found(span):
                    return span
            assert time.monotonic() < end, f"no such span among {[span['name'] for span in self.spans]}"
            time.sleep(0.05)


def _plain(span: Any, service: str) -> dict[str, Any]:
    attributes = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    return {
        "service": service,
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "error": span.status.code == 2,
        "ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        **attributes,
    }


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens."""
    found = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            found.add(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()
