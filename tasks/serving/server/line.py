"""The waiting line in front of one model: bounded, in order, by deadline, and run in batches where that is asked for.

The first request of a turn of the event loop is run at once; others are admitted and run on later turns. So a burst is
counted and its end refused before most of it is run: without that, requests would wait unseen in their sockets, where
no limit and no deadline reaches them. Calls of under a millisecond are made on the event loop itself, because handing
them to a thread costs more than making them; longer ones are made in threads, one a core.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from tasks.foundations.errors import SlipwayError
from tasks.serving.served import Served
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident
from tasks.serving.server.tensors import is_finite

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Told = Callable[["Feeds | Rejected"], None]

INLINE_SECONDS = 0.001
"""Calls shorter than this run on the event loop."""
MARGIN = 4
"""Deviations that a call may take longer than usual and still be answered in time (as TCP's time-out, RFC 6298)."""
WAITING_SHARE = 0.75
"""Of the time that a request has before its own call, so much may be taken up by what stands before it. A line that is
as long as deadlines allow answers everything at the last moment, and what takes longer than expected comes late."""
FRESH_SECONDS = 0.1
"""So long what was learned from a call is taken as it is."""
OUTLIER = 10
"""A call that is slower than usual by more counts as slower by so much: it may have been a pause of the machine."""
SLICE_SECONDS = 0.002
"""How long calls may hold the event loop before sockets are looked at again."""


@dataclass(eq=False, slots=True)
class Job:
    """A request in the line: what to run, for how many rows, until when.

    Attributes:
        expected_s: what it adds to the calls that are made, on a machine that does nothing else.
        told: called once with its answer; not at all if `gone`.
        gone: whether nobody waits for it any more.
    """

    resident: Resident
    feeds: Feeds
    rows: int
    deadline: float
    came: float
    expected_s: float
    told: Told
    gone: Callable[[], bool]

    def tell(self, given: "Feeds | Rejected") -> None:
        """Give the answer and let go of the version."""
        self.resident.active -= 1
        if not self.gone():
            self.told(given)


class Line:
    """The requests of one model that wait, and the calls that are being made for them."""

    def __init__(self, threads: ThreadPoolExecutor, on_run: Callable[[float, int], None]) -> None:
        """An empty line.

        Args:
            threads: where calls of a millisecond and more are made.
            on_run: called with the seconds and rows of every call.
        """
        self.served = Served()
        self._threads = threads
        self._on_run = on_run
        self._waiting: deque[Job] = deque()
        self._timer: asyncio.Handle | None = None
        self._ran_now = False  # a request in this turn of the event loop
        self._patient = False  # the timer waits for a batch to be filled
        self._running = 0
        self._at_once = 1  # calls that may be made side by side
        self._ahead_s = 0.0  # what calls for those that wait are expected to take
        self._under_way_s = 0.0  # and those that are being made
        self._slower = 1.0  # than expected that calls are, a moving average
        self._spread = 0.0  # how far they are from it, a moving average too
        self._learned = 0.0  # when that was last seen

    def __len__(self) -> int:
        return len(self._waiting)

    def check_room(self, deadline: float, expected_s: float = 0.0) -> None:
        """Refuse a request that could not be answered, before anything is done for it.

        Args:
            deadline: `time.monotonic()` seconds.
            expected_s: seconds that its own call takes, as far as they are known.

        Raises:
            Rejected: the line is full, or what stands before the request takes too much of its time.
        """
        if not self._waiting and not self._running:
            return
        waiting = len(self._waiting)
        if waiting >= self.served.queue:
            raise self._overload(f"{waiting} requests wait, at most {self.served.queue} may")
        left_s = deadline - time.monotonic() - expected_s * self._slower
        if self._wait_s() >= WAITING_SHARE * left_s:
            raise self._overload(f"the deadline of {self.served.deadline_ms:g} ms would pass while it waits")

    def put(
        self, resident: Resident, feeds: Feeds, deadline: float, told: Told, gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Put a request in the line; see `Job` for `told` and `gone`.

        Raises:
            Rejected: see `check_room`.
        """
        now, rows = time.monotonic(), len(next(iter(feeds.values())))
        expected_s = resident.expected_s(rows)
        self.check_room(deadline, expected_s)
        if expected_s > max(deadline - now, self.served.deadline_ms / 1000):
            raise Rejected(
                "deadline",
                f"{rows} rows take about {expected_s * 1000:.0f} ms, the deadline is {self.served.deadline_ms:g} ms. "
                "Ask for fewer rows.",
            )
        resident.active += 1
        if self.served.batching:  # their calls are shared
            expected_s = min(expected_s, resident.row_s * rows + resident.run_s / self.served.batching.max_size)
        job = Job(resident, feeds, rows, deadline, now, expected_s, told, gone)
        if self._is_alone(job):
            self._run_now(job)
            return
        self._waiting.append(job)
        self._ahead_s += expected_s
        self._wake()

    def _is_alone(self, job: Job) -> bool:
        """Whether a request needs not wait for the next turn: the first of this one, and nothing else is there."""
        if self._ran_now or self._waiting or self._running or self.served.batching:
            return False
        return not _is_long(job) and job.deadline - job.came >= job.expected_s

    def _run_now(self, job: Job) -> None:
        """Make a call in this turn of the event loop."""
        self._ran_now = True
        asyncio.get_running_loop().call_soon(self._next_turn)
        self._run_here(job)

    def _next_turn(self) -> None:
        self._ran_now = False

    def _run_here(self, job: Job) -> None:
        """Make a call on the event loop; the answer goes first, what it taught is noted afterwards."""
        begin = time.perf_counter()
        given = _run_one(job)
        seconds = time.perf_counter() - begin
        _tell(job, given, time.monotonic())
        self._learn(seconds, job.expected_s, job.rows)

    async def run(self, resident: Resident, feeds: Feeds, deadline: float) -> Feeds:
        """Wait, and be run.

        Raises:
            Rejected: see `check_room`; or the deadline has passed, or the model failed or answered NaN.
        """
        answer: asyncio.Future[Feeds | Rejected] = asyncio.get_running_loop().create_future()
        self.put(resident, feeds, deadline, answer.set_result, answer.done)
        given = await answer
        if isinstance(given, Rejected):
            raise given
        return given

    def _wait_s(self) -> float:
        """Seconds until the next request would be run."""
        return (self._ahead_s + self._under_way_s) * self._slower / self._at_once

    def _overload(self, why: str) -> Rejected:
        after = max(1, ceil(self._wait_s()))
        return Rejected("overload", f"Too many requests: {why}. Try again after {after} s.", retry_after_s=after)

    def _wake(self) -> None:
        if not self._waiting:
            return
        if self._timer is not None:
            if not self._patient or self._patience(self._waiting[0]) > 0:
                return
            self._timer.cancel()  # what was waited for has come
        self._patient = False
        self._timer = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Make calls until the line is empty, every core is taken, or sockets want to be looked at."""
        self._timer = None
        until = time.monotonic() + SLICE_SECONDS
        while self._waiting:
            first = self._waiting[0]
            self._at_once = max(1, _cores() // first.resident.threads) if _is_long(first) else 1
            if self._running >= self._at_once:
                return  # the end of a call wakes the line
            wait_s = self._patience(first)
            if wait_s > 0:
                self._patient = True
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._turn)
                return
            jobs = self._take()
            if not jobs:
                continue
            if self._running or _is_long(jobs[0]) or sum(job.expected_s for job in jobs) >= INLINE_SECONDS:
                self._hand_over(jobs)
            elif len(jobs) == 1:
                self._run_here(jobs[0])
            else:
                self._finish(jobs, *self._call(jobs))
            if time.monotonic() >= until:
                self._wake()
                return

    def _patience(self, first: Job) -> float:
        """Seconds that a batch may still wait to be filled, at most half of what its first request has."""
        batching = self.served.batching
        if batching is None or not batching.max_delay_ms:
            return 0.0
        if sum(job.rows for job in self._waiting) >= batching.max_size:
            return 0.0
        wait_s = min(batching.max_delay_ms / 1000, (first.deadline - first.came) / 2)
        return first.came + wait_s - time.monotonic()

    def _next(self) -> Job:
        job = self._waiting.popleft()
        self._ahead_s = max(0.0, self._ahead_s - job.expected_s) if self._waiting else 0.0
        return job

    def _take(self) -> list[Job]:
        """The first jobs that can be run in one call; those whose deadline has passed are told so."""
        limit = self.served.batching.max_size if self.served.batching else 1
        now, jobs, rows = time.monotonic(), list[Job](), 0
        while self._waiting and rows < limit:
            job = self._waiting[0]
            if job.gone():
                self._next().tell({})
            elif job.deadline - now < job.expected_s * (self._slower + MARGIN * self._spread):
                self._next()
                self._forget_a_little()
                job.tell(self._overload("the deadline would pass before it is answered"))
            elif jobs and (rows + job.rows > limit or not _go_together(jobs[0], job)):
                break
            else:
                jobs.append(self._next())
                rows += job.rows
        return jobs

    def _forget_a_little(self) -> None:
        """What is refused is not run, so without this one slow call could have everything refused for ever."""
        if self._running or time.monotonic() - self._learned < FRESH_SECONDS:
            return
        self._slower = max(1.0, 0.7 * self._slower)
        self._spread *= 0.7

    def _hand_over(self, jobs: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        expected_s = sum(job.expected_s for job in jobs)
        self._running += 1
        self._under_way_s += expected_s

        def ended(call: "asyncio.Future[tuple[list[Feeds | Rejected], float]]") -> None:
            self._running -= 1
            self._under_way_s = self._under_way_s - expected_s if self._running else 0.0
            if not call.cancelled():
                self._finish(jobs, *call.result())
            self._wake()

        loop.run_in_executor(self._threads, self._call, jobs).add_done_callback(ended)

    def _call(self, jobs: list[Job]) -> tuple[list[Feeds | Rejected], float]:
        """Answers in the order of the jobs, and the seconds of the call; may run in a thread."""
        begin = time.perf_counter()
        answers = answer(jobs)
        return answers, time.perf_counter() - begin

    def _finish(self, jobs: list[Job], answers: Sequence[Feeds | Rejected], seconds: float) -> None:
        self._learn(seconds, sum(job.expected_s for job in jobs), sum(job.rows for job in jobs))
        now = time.monotonic()
        for job, given in zip(jobs, answers, strict=True):
            _tell(job, given, now)

    def _learn(self, seconds: float, expected_s: float, rows: int) -> None:
        """How calls compare with what was expected of them."""
        self._learned = time.monotonic()
        ratio = min(seconds / max(expected_s, 1e-6), OUTLIER * max(self._slower, 1.0))
        self._spread += 0.1 * (abs(ratio - self._slower) - self._spread)
        self._slower += 0.1 * (ratio - self._slower)
        self._on_run(seconds, rows)


def _tell(job: Job, given: Feeds | Rejected, now: float) -> None:
    if now > job.deadline and not isinstance(given, Rejected):
        given = Rejected("deadline", "The model answered after the request's deadline.")
    job.tell(given)


def answer(jobs: list[Job]) -> list[Feeds | Rejected]:
    """One call for jobs that go together; if it fails, a call for each, so that one request cannot fail others."""
    resident = jobs[0].resident
    if len(jobs) == 1:
        return [_run_one(jobs[0])]
    together = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
    rows = sum(job.rows for job in jobs)
    try:
        outputs = resident.run(together)
    except Exception:  # noqa: BLE001 - told below, by the request that it belongs to
        return [_run_one(job) for job in jobs]
    if any(values.ndim == 0 or len(values) != rows for values in outputs.values()):
        return [_run_one(job) for job in jobs]
    answers, begin = list[Feeds | Rejected](), 0
    for job in jobs:
        part = {name: values[begin : begin + job.rows] for name, values in outputs.items()}
        answers.append(_finite(part))
        begin += job.rows
    return answers


def _run_one(job: Job) -> Feeds | Rejected:
    try:
        return _finite(job.resident.run(job.feeds))
    except SlipwayError as error:
        return Rejected("model", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the line goes on
        return Rejected("model", f"The model failed: {type(error).__name__}: {error}")


def _finite(outputs: Feeds) -> Feeds | Rejected:
    for name, values in outputs.items():
        if not is_finite(values):
            return Rejected("model", f"The model answered NaN or infinity in output {name!r}.")
    return outputs


def _is_long(job: Job) -> bool:
    return job.resident.run_s >= INLINE_SECONDS or job.expected_s >= INLINE_SECONDS


def _go_together(one: Job, other: Job) -> bool:
    """Whether two requests are for the same version and have the same shapes but for the rows."""
    return one.resident is other.resident and all(
        values.shape[1:] == other.feeds[name].shape[1:] for name, values in one.feeds.items()
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
