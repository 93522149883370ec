"""uvicorn's HTTP/1.1 protocol with what it leaves to a proxy, and a short way for predictions.

Limits of time and size: without them a client that sends a byte a minute holds a connection for ever. Times of arrival:
without them a request that waited in a crowded event loop would count as having just come. And a prediction that came
as a whole is answered without a task, messages and a second write: a third of what it costs the server.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEADER_SECONDS = 10.0
MOST_HEADER_BYTES = 64 * 1024
READ_SECONDS = 30.0
"""How long a client may leave an answer unread."""
CAME = "came"
"""Key of the request's state: `time.monotonic()` seconds when its last byte was read."""


def _answered(status: int, sentence: str) -> bytes:
    """A whole answer after which the connection is closed."""
    body = orjson.dumps({"error": sentence})
    lines = (b"content-type: application/json", b"connection: close", b"content-length: %d" % len(body), b"", body)
    return STATUS_LINE[status] + b"\r\n".join(lines)


_TOO_SLOW = _answered(408, f"The request's headers did not come within {HEADER_SECONDS:g} s.")
_TOO_LARGE = _answered(431, f"The request's headers are larger than {MOST_HEADER_BYTES} bytes.")


@runtime_checkable
class Quick(Protocol):
    """An application that can answer some requests without a task of their own."""

    def begin(self, scope: Any, body: bytes, done: Callable[[int, bytes, list[tuple[bytes, bytes]]], None]) -> bool:
        """Answer a request by calling `done` once; False if it is none of those."""
        ...


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Headers must come from now on."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unfinished_bytes = 0  # of headers, or of trailers
        self._header_bytes = 0
        self._in_body = False
        self._left = 0  # of a body whose request asked for another protocol
        self._parsing = False
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._is_quick = isinstance(self.app, Quick)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._forget_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read its answers: it has so long to begin again."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        if self.flow is not None:
            super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Begin a request when all that has come is parsed, and limit what is neither request nor body yet."""
        self._parsing = True
        self._parse(data)
        self._parsing = False
        if self._held is not None and self._header_bytes <= MOST_HEADER_BYTES:
            held, self._held = self._held, None
            self._begin(*held)
        self._unfinished_bytes = self._unfinished_bytes + len(data) if self._timer is not None else 0
        if max(self._unfinished_bytes, self._header_bytes) > MOST_HEADER_BYTES:
            self._end(_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        """As uvicorn does, but a request that offers another protocol (`Upgrade: h2c`) is answered in this one.

        The parser stops behind the headers of such a request and would take its body for the next one.
        """
        self._unset_keepalive_if_required()
        while data:
            if self._left:
                body, data = data[: self._left], data[self._left :]
                self._left -= len(body)
                super().on_body(body)
                if not self._left:
                    self._complete()
                continue
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                data = data[stopped.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self._read_body_as_it_is()
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return

    def _read_body_as_it_is(self) -> None:
        headers = dict(self.headers)
        size = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not size.isdigit():
            self.send_400_response("A request that offers another protocol needs a Content-Length.")
            return
        self._left = int(size)
        if not self._left:
            self._complete()

    def send_400_response(self, msg: str) -> None:
        """Nothing more is read from a client that does not speak HTTP; what it asked before is not answered."""
        self._end(_answered(400, msg))
        self._held = None

    def on_message_begin(self) -> None:
        """The next request of a connection has as long as the first."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._timer is None:
            self._await_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; what comes behind a body (trailers) means nothing here."""
        self._header_bytes += len(name) + len(value)
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Headers are there."""
        self._forget_timer()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there, unless the parser has stopped in front of it."""
        if not self.parser.should_upgrade():
            self._complete()

    def _complete(self) -> None:
        """Deadlines count from here."""
        self._in_body = False
        state: Any = self.scope.get("state")
        if state is not None:
            state[CAME] = time.monotonic()
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Not before the body that came with the headers is known."""
        if self._parsing:
            self._held = cycle, app  # at most one: the next ones wait in the pipeline
        else:
            self._begin(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A prediction that has come as a whole is answered without a task and messages of its own."""
        if self.transport.is_closing():
            return
        short = self._is_quick and app is self.app and not cycle.more_body and not self.flow.write_paused
        if not (short and app.begin(cycle.scope, bytes(cycle.body), partial(self._answer, cycle))):
            super()._start_asgi_task(cycle, app)

    def _answer(
        self, cycle: RequestResponseCycle, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """What `RequestResponseCycle.send` does, in one write."""
        if cycle.disconnected or self.transport.is_closing():
            return
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
            if name == b"connection":  # the only one ever given is `close`
                cycle.keep_alive = False
        if not cycle.keep_alive and not any(name == b"connection" for name, _ in headers):
            lines.append(b"connection: close\r\n")
        lines += (b"content-length: ", str(len(body)).encode(), b"\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _await_headers(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._end, _TOO_SLOW)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, farewell: bytes) -> None:
        self._forget_timer()
        if self.transport.is_closing():
            return
        if self._held is not None or self.cycle is None or self.cycle.response_complete:
            self.transport.write(farewell)
        self.transport.close()
