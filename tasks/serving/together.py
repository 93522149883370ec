"""Several servers are asked at once, and whoever waits for them can always be interrupted.

The threads are daemons because an executor's are waited for when Python ends: after Ctrl-C, a server that hangs would
hold the command for its whole limit.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.1
"""How long Ctrl-C may go unnoticed: one that comes just before the wait, or in another thread, does not end it."""


class OutOfPatience(Exception):
    """The caller's time is over and not every call has ended; they go on without it."""


def together(calls: Sequence[Callable[[], T]], patience_s: float | None = None) -> list[T]:
    """Run calls side by side.

    Args:
        calls: what to run, each in a thread of its own.
        patience_s: how long to wait for them, None for as long as they take.

    Returns:
        Their answers, in order.

    Raises:
        OutOfPatience: not all have ended in time.
        Exception: the first that any of them raised; the others are not waited for.
    """
    ended: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def run(index: int, call: Callable[[], T]) -> None:
        try:
            ended.put((index, call(), None))
        except BaseException as error:  # noqa: BLE001 - raised again by the one who waits
            ended.put((index, None, error))

    for index, call in enumerate(calls):
        threading.Thread(target=run, args=(index, call), daemon=True, name="together").start()
    deadline = math.inf if patience_s is None else time.monotonic() + patience_s
    answers: dict[int, T] = {}
    while len(answers) < len(calls):
        left_s = deadline - time.monotonic()
        try:
            index, answer, error = ended.get(timeout=max(0.0, min(left_s, LOOK_SECONDS)))
        except queue.Empty:
            if left_s <= 0:
                raise OutOfPatience from None
            continue
        if error is not None:
            raise error
        answers[index] = answer  # type: ignore[assignment]
    return [answers[index] for index in range(len(calls))]
