"""uvicorn's HTTP/1.1 protocol with what it leaves to a proxy, and a short way for predictions.

Limits of time and size: without them a client that sends a byte a minute holds a connection for ever. Times of arrival:
without them a request that waited in a crowded event loop would count as having just come. And a prediction that came
as a whole is answered without ASGI's scope, task and messages: a third of what it costs the server.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tasks.serving.server.attention import Attention

HEADER_SECONDS = 10.0
MOST_HEADER_BYTES = 64 * 1024
READ_SECONDS = 30.0
"""How long a client may leave an answer unread."""
CAME = "came"
"""Key of the request's state: `time.monotonic()` seconds when its last byte was read."""

MOST_HEADS = 100

Header = tuple[bytes, bytes]
Done = Callable[[int, bytes, list[Header]], None]


def _answered(status: int, sentence: str) -> bytes:
    """A whole answer after which the connection is closed."""
    body = orjson.dumps({"error": sentence})
    lines = (b"content-type: application/json", b"connection: close", b"content-length: %d" % len(body), b"", body)
    return STATUS_LINE[status] + b"\r\n".join(lines)


_TOO_SLOW = _answered(408, f"The request's headers did not come within {HEADER_SECONDS:g} s.")
_TOO_LARGE = _answered(431, f"The request's headers are larger than {MOST_HEADER_BYTES} bytes.")


@runtime_checkable
class Quick(Protocol):
    """An application that can answer some requests from their bytes alone."""

    def recognise(self, url: bytes) -> Any:
        """What a POST to this target asks for; None if it is none of those."""
        ...

    def begin(self, call: Any, headers: list[Header], body: bytes, came: float, done: Done) -> None:
        """Answer what was recognised by calling `done` once; `came` in `time.monotonic()` seconds."""
        ...


class _Short:
    """A request that may be answered the short way; uvicorn sees in it what it reads of its own requests."""

    __slots__ = ("call", "came", "disconnected", "headers", "keep_alive", "message_event", "parts", "response_complete")

    def __init__(self, call: Any, headers: list[Header], keep_alive: bool) -> None:
        self.call = call
        self.headers = headers
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.came: float | None = None  # None until its last byte is read
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NOBODY_WAITS


class _NobodyWaits:
    """In place of an event."""

    def set(self) -> None:
        """Nobody is told."""


_NOBODY_WAITS = _NobodyWaits()


class _Heads:
    """Heads of answers up to their length: for a second, until uvicorn writes another date, they are the same."""

    def __init__(self) -> None:
        self._defaults: list[Header] = []
        self._made: dict[Any, bytes] = {}

    def of(self, defaults: list[Header], status: int, headers: list[Header]) -> bytes:
        """All lines, and the name of the last header."""
        if defaults is not self._defaults or len(self._made) > MOST_HEADS:
            self._defaults, self._made = defaults, {}
        key = (status, *headers)
        head = self._made.get(key)
        if head is None:
            lines = b"".join(b"%s: %s\r\n" % header for header in (*defaults, *headers))
            head = self._made[key] = STATUS_LINE[status] + lines + b"content-length: "
        return head


_HEADS = _Heads()
_ATTENTION = Attention()


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # uvicorn's, or one of ours

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Headers must come from now on."""
        super().connection_made(transport)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._in_headers = True
        self._in_body = False
        self._unfinished_bytes = 0  # of headers, while they are not whole
        self._header_bytes = 0  # of one request, trailers too
        self._left = 0  # of a body whose request asked for another protocol
        self._parsing = False
        self._short: _Short | None = None  # came with what is being parsed
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._quick = self.app if isinstance(self.app, Quick) else None
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._forget_header_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
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
        self._unfinished_bytes = self._unfinished_bytes + len(data) if self._in_headers else 0
        if max(self._unfinished_bytes, self._header_bytes) > MOST_HEADER_BYTES:
            self._end(_TOO_LARGE)
            return
        if self._in_headers and self._header_timer is None:
            self._await_headers()
        if self._short is not None:
            self._begin_short(self._short)
        elif self._held is not None:
            held, self._held = self._held, None
            self._start_asgi_task(*held)

    def _parse(self, data: bytes) -> None:
        """As uvicorn does, but a request that offers another protocol (`Upgrade: h2c`) is answered in this one.

        The parser stops behind the headers of such a request and would take its body for the next one.
        """
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
        self._held = self._short = None

    def on_message_begin(self) -> None:
        """The next request of a connection has as long as the first."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._header_bytes = 0
        self._in_headers = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; what comes behind a body (trailers) means nothing here."""
        self._header_bytes += len(name) + len(value)
        if self._in_body:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Headers are there."""
        self._forget_header_timer()
        self._in_headers = False
        self._in_body = True
        call = self._recognised()
        if call is None:
            self._to_asgi()
        else:
            self.cycle = self._short = _Short(call, self.headers, self._keeps_alive())

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._short is not None and self._short is self.cycle:
            self._short.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there, unless the parser has stopped in front of it."""
        if not self.parser.should_upgrade():
            self._complete()

    def on_response_complete(self) -> None:
        """Go on with what the client has sent meanwhile, else wait for it; one timer serves many answers."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._end_if_idle)

    def _recognised(self) -> Any:
        """What the short way would have to answer; None if it is closed to this request."""
        waiting = self.cycle is not None and not self.cycle.response_complete
        if self._quick is None or waiting or self.flow.write_paused or self.expect_100_continue:
            return None
        if self.parser.get_method() != b"POST" or self.parser.should_upgrade():
            return None
        return self._quick.recognise(self.url)

    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()

    def _to_asgi(self) -> None:
        """What uvicorn does when headers are there, with what it prepares when they begin."""
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers += headers  # the scope holds this list
        super().on_headers_complete()

    def _complete(self) -> None:
        """Deadlines count from here."""
        self._in_body = False
        if self._short is not None and self._short is self.cycle:
            self._short.came = time.monotonic()
            return
        state: Any = self.scope.get("state")
        if state is not None:
            state[CAME] = time.monotonic()
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Not before all that came with the headers is known to be HTTP."""
        if self._parsing:
            self._held = cycle, app  # at most one: the next ones wait in the pipeline
        elif not self.transport.is_closing():
            super()._start_asgi_task(cycle, app)

    def _begin_short(self, short: _Short) -> None:
        """Answer a prediction that has come as a whole; of another the rest is awaited the long way."""
        self._short = None
        if self.transport.is_closing():
            return
        if short.came is not None and self._quick is not None:
            body = b"".join(short.parts)
            _ATTENTION.came(self, short.came)
            self._quick.begin(short.call, short.headers, body, short.came, partial(self._answer, short))
            return
        self.cycle = None
        self._to_asgi()
        for part in short.parts:
            super().on_body(part)

    def _answer(self, short: _Short, status: int, body: bytes, headers: list[Header]) -> None:
        """What `RequestResponseCycle.send` does, in one write."""
        if short.disconnected or self.transport.is_closing():
            return
        if (b"connection", b"close") in headers:
            short.keep_alive = False
        elif not short.keep_alive:
            headers.append((b"connection", b"close"))
        head = _HEADS.of(self.server_state.default_headers, status, headers)
        self.transport.write(b"%s%d\r\n\r\n%s" % (head, len(body), body))
        short.response_complete = True
        if not short.keep_alive:
            self.transport.close()
        self.on_response_complete()
        _ATTENTION.answered(self)

    def _end_if_idle(self) -> None:
        """Close a connection on which nothing has been asked for since its last answer, for that long."""
        self._idle_timer = None
        if self._in_headers or self.transport.is_closing() or not self.cycle.response_complete:
            return  # headers have a timer of their own; the next answer sets this one again
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._end_if_idle)
        else:
            self.transport.close()

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._end, _TOO_SLOW)

    def _forget_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _end(self, farewell: bytes) -> None:
        self._forget_header_timer()
        if self.transport.is_closing():
            return
        if self._held is not None or self._short is not None or self.cycle is None or self.cycle.response_complete:
            self.transport.write(farewell)
        self.transport.close()
