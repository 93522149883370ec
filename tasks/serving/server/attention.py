"""Keeps the event loop awake for a client that asks one thing after the other.

A processor that has nothing to do goes to sleep, and waking it takes up to 50 µs on a virtual machine: a quarter of
what a small request takes. So after an answer the loop goes on looking for a moment, but only if the client's last
request came within such a moment: of many clients one is there anyway, and a distant one does not come in time.
"""

import asyncio
import os
import time

AWAKE_SECONDS = 0.0002


class Attention:
    """Whom one event loop looks out for."""

    def __init__(self) -> None:
        self._client: object = None
        self._answered = 0.0
        self._expects = False
        self._looks = False

    def came(self, client: object, at: float) -> None:
        """A client's request is there, since `at` in `time.monotonic()` seconds."""
        self._expects = client is self._client and at - self._answered < AWAKE_SECONDS

    def answered(self, client: object) -> None:
        """It has got its answer."""
        self._client = client
        self._answered = time.monotonic()
        if self._expects and not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """The loop looks at its sockets between two calls of this."""
        self._looks = time.monotonic() - self._answered < AWAKE_SECONDS
        if self._looks:
            os.sched_yield()  # whoever else wants the processor comes first
            asyncio.get_running_loop().call_soon(self._look)
