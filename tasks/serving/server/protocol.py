"""uvicorn's HTTP/1.1 protocol with what it leaves to a proxy: time and size limits of headers, and times of arrival.

Without them a client that sends a byte a minute holds a connection for ever, and a request that waited in a crowded
event loop would count as having just come.
"""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
MOST_HEADER_BYTES = 64 * 1024
CAME = "came"
"""Key of the request's state: `time.monotonic()` seconds when its last byte was read."""

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Headers must come from now on."""
        super().connection_made(transport)
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of headers that are not complete."""
        super().data_received(data)
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
