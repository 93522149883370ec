"""Orders and answers in the store that both machines share, and the pulse by which a silent machine is noticed.

orders/<sha256>.json     an order under the digest of its content
answers/<run>.json       what came of it, one a flow run
pulses/<run>.json        rewritten every few seconds while the run lives
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from tasks.foundations.errors import DigestMismatch, InputError, SlipwayError
from tasks.hardware.order import Answer, Order
from tasks.store.store import Store

PULSE_S = 2.0


def place_order(store: Store, order: Order) -> str:
    """Write an order; the same one has the same id.

    Returns:
        Its id: sha256 (hex) of its content.
    """
    content = order.model_dump_json()
    digest = hashlib.sha256(content.encode()).hexdigest()
    store.write(f"orders/{digest}.json", content)
    return digest


def read_order(store: Store, order: str) -> Order:
    """The order with this id.

    Raises:
        InputError: it is not there, because the release uses another store.
        DigestMismatch: it is not what was written.
    """
    content = store.read(f"orders/{order}.json")
    if content is None:
        raise InputError(
            f"This machine's store {store.url} has no order {order[:12]}. Let SLIPWAY_STORE_URL name the store of the "
            "release on both machines."
        )
    if hashlib.sha256(content).hexdigest() != order:
        raise DigestMismatch(f"The order {order[:12]} in {store.url} was changed. Release again.")
    try:
        return Order.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"The order {order[:12]} cannot be read here: {error.errors()[0]['msg']}. Install the release's version of "
            "Slipway on this machine."
        ) from error


def write_answer(store: Store, run: str, answer: Answer) -> None:
    """Leave the answer of a run."""
    store.write(f"answers/{run}.json", answer.model_dump_json())


def read_answer(store: Store, run: str) -> Answer | None:
    """The answer of a run, None while there is none.

    Raises:
        InputError: it is not what this version of Slipway writes.
    """
    content = store.read(f"answers/{run}.json")
    try:
        return Answer.model_validate_json(content) if content is not None else None
    except ValidationError as error:
        raise InputError(
            f"the answer of its machine cannot be read: {error.errors()[0]['msg']}. Install the release's version of "
            "Slipway on that machine"
        ) from error


class Pulse:
    """What a living run says of itself, for whoever waits for it.

    Attributes:
        text: what it is doing.
    """

    def __init__(self) -> None:
        self.text = "started"
        self._count = 0

    def beat(self) -> str:
        """The next beat as JSON: it differs from every one before, because clocks of two machines do."""
        self._count += 1
        return json.dumps({"beat": self._count, "text": self.text})


@contextmanager
def pulse(store: Store, run: str, every_s: float = PULSE_S) -> Iterator[Pulse]:
    """Beat for the duration of the block."""
    living, ended = Pulse(), threading.Event()

    def beat() -> None:
        while not ended.wait(every_s):
            with suppress(SlipwayError, OSError):  # a beat that is lost is followed by the next
                store.write(f"pulses/{run}.json", living.beat())

    store.write(f"pulses/{run}.json", living.beat())
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield living
    finally:
        ended.set()
        thread.join()


class Listener:
    """Hears whether a run still beats; judged by this machine's clock alone."""

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run
        self._last: bytes | None = None
        self._heard = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last new beat, or since the listening began."""
        return time.monotonic() - self._heard

    def hear(self) -> None:
        """Take note of another sign of life."""
        self._heard = time.monotonic()

    def listen(self) -> str | None:
        """Look for a new beat; what it says, None if there is none or the store does not answer."""
        try:
            content = self._store.read(f"pulses/{self._run}.json")
        except (SlipwayError, OSError):
            return None
        if content is None or content == self._last:
            return None
        try:
            text = str(json.loads(content)["text"])
        except (ValueError, KeyError, TypeError):  # half-written: not every kind of store replaces a file at once
            return None
        self._last, self._heard = content, time.monotonic()
        return text
