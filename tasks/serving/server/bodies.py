"""Bodies that are still on their way: how large, how many and how slow they may be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from tasks.serving.server.rejected import Rejected

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_SECONDS = 30.0
MOST_JSON_BYTES = 16 * 2**20
"""Larger tensors must come as bytes: JSON is read by one thread that nothing else can run beside."""
BODIES = 4
"""So many of the largest bodies may be on their way at once; the next ones are told to wait."""


class Bodies:
    """The bodies that are on their way or being worked on, all together no larger than `BODIES` of the largest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def most(self, binary: bool) -> int:
        """Bytes of the largest body; `binary` if it brings tensors as bytes."""
        return self._most if binary else min(self._most, MOST_JSON_BYTES)

    @asynccontextmanager
    async def read(self, size: bytes, binary: bool, receive: Receive) -> AsyncIterator[bytes]:
        """One whole body, which counts until the block ends.

        Args:
            size: its header Content-Length, empty if it has none.
            binary: see `most`.
            receive: of ASGI.

        Raises:
            Rejected: it is too large, does not come to its end in time, or too many large ones are here.
        """
        most = self.most(binary)
        if size.isdigit():
            check_size(int(size), most)
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    await self._collect(parts, most, receive)
            except TimeoutError:
                raise Rejected("deadline", f"The body did not come to its end within {BODY_SECONDS:g} s.") from None
            yield b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _collect(self, parts: list[bytes], most: int, receive: Receive) -> None:
        length, more = 0, True
        while more:
            message = await _next(receive)
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            length += len(parts[-1])
            self._held += len(parts[-1])
            check_size(length, most)
            if self._held > BODIES * self._most:
                raise Rejected("overload", "Too many large bodies are here. Try again after 1 s.", retry_after_s=1)


def check_size(size: int, most: int) -> None:
    """Refuse a body of more than `most` bytes."""
    if size > most:
        raise Rejected("too_large", f"The body is larger than {most} bytes, which is the most this server takes.")


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Rejected("malformed", "The client left in the middle of its request.")
    return message
