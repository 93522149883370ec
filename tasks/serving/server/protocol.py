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

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEADER_SECONDS = 10.0
MOST_HEADER_BYTES = 64 * 1024
CAME = "came"
"""Key of the request's state: `time.monotonic()` seconds when its last byte was read."""

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@runtime_checkable
class Quick(Protocol):
    """An application that can answer some requests without a task of their own."""

    def answers(self, scope: Any) -> bool:
        """Whether this is such a request."""
        ...

    def begin(self, scope: Any, body: bytes, done: Callable[[int, bytes, list[tuple[bytes, bytes]]], None]) -> None:
        """Answer it by calling `done` once."""
        ...


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Headers must come from now on."""
        super().connection_made(transport)
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._parsing = False
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._is_quick = isinstance(self.app, Quick)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin a request when all that has come is parsed, and count the bytes of headers that are not complete."""
        self._parsing = True
        super().data_received(data)
        self._parsing = False
        if self._held is not None:
            held, self._held = self._held, None
            self._begin(*held)
        if self._header_timer is None:
            self._header_bytes = 0
            return
        self._header_bytes += len(data)
        if self._header_bytes > MOST_HEADER_BYTES:
            self._end(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The next request of a connection has as long as the first."""
        super().on_message_begin()
        if self._header_timer is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        """Headers are there."""
        self._forget_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there: deadlines count from here."""
        state: Any = self.scope.get("state")
        if state is not None:
            state[CAME] = time.monotonic()
        super().on_message_complete()

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
        if short and app.answers(cycle.scope):
            app.begin(cycle.scope, bytes(cycle.body), partial(self._answer, cycle))
        else:
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
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._end, _TOO_SLOW)

    def _forget_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _end(self, farewell: bytes) -> None:
        self._forget_timer()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(farewell)
        self.transport.close()
