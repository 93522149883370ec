"""An existing Dask cluster, and nothing else knows Dask: functions and small records go there, small records come back.

Dask gives the work of a worker that is lost to another one, a bounded number of times; a cluster without any worker,
or without its scheduler, is waited for as long as the config says.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any
from uuid import uuid4

from tasks.foundations.errors import SlipwayError, StepFailed, WorkerKilled

CONNECT_S = 10.0
POLL_S = 1.0
LOOK_S = 5.0  # between two looks at who is in the cluster


class Cluster:
    """A connection to the cluster at an address. Use as a context manager.

    Args:
        address: of its scheduler.
        name: of this client, for those who look at the cluster.
        patience_s: how long there may be no worker at all.

    Raises:
        SlipwayError: Dask is not installed, or no scheduler answers there.
    """

    def __init__(self, address: str, name: str, patience_s: float) -> None:
        self.address = address
        self._patience_s = patience_s
        self._client = _connect(address, name)
        self._futures: set[Any] = set()
        self._lock = threading.Lock()
        self._ended = False
        self._looked = self._peopled = time.monotonic()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._client.close(timeout=CONNECT_S)

    def slots(self) -> dict[str, int]:
        """Address of each worker -> how many tasks it runs at once."""
        return dict(self._client.nthreads())

    def everywhere(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Call a function in every worker process now, also in those that are busy.

        Returns:
            Address of the worker -> what the function gave back there, or the exception.

        Raises:
            SlipwayError: the scheduler does not answer.
        """
        try:
            return dict(self._client.run(function, *args, on_error="return"))
        except Exception as error:  # of every kind where a worker cannot even read what it is sent
            raise SlipwayError(
                f"The workers of the Dask cluster at {self.address} cannot be asked: {type(error).__name__}: {error}."
            ) from error

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function once in some worker process, and wait.

        Raises:
            SlipwayError: what the function raised.
            WorkerKilled: one worker after the other was lost with it.
            StepFailed: there is no worker, no scheduler, or the connection was ended.
        """
        with self._lock:
            if self._ended:
                raise StepFailed("A job came when the release was ending.")
            future = self._client.submit(function, *args, key=f"slipway-{uuid4().hex}", pure=False)
            self._futures.add(future)
        try:
            return self._result(future)
        finally:
            with self._lock:
                self._futures.discard(future)

    def listen(self, topic: str, heard: Callable[[Any], None]) -> None:
        """Let `heard` be called with every message that a worker sends under this topic."""
        self._client.subscribe_topic(topic, lambda event: heard(event[1]))

    def end(self) -> None:
        """Cancel what was called and take no call any more."""
        with self._lock:
            self._ended = True
            futures = list(self._futures)
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)

    def _result(self, future: Any) -> Any:
        """Waits without Dask's own limit, which now and then loses what comes just as it is reached."""
        over = threading.Event()
        future.add_done_callback(lambda _: over.set())
        while not (over.wait(POLL_S) or future.done()):
            self._check_peopled()
        try:
            return future.result()
        except CancelledError:
            raise self._cut_off() from None
        except SlipwayError:
            raise
        except Exception as error:
            raise self._explained(error) from error

    def _check_peopled(self) -> None:
        """Look whether there is any worker, once for all who wait."""
        if self._ended:
            raise self._cut_off()
        with self._lock:
            is_due = time.monotonic() - self._looked >= LOOK_S
            if is_due:
                self._looked = time.monotonic()
        if is_due and self._has_workers():
            self._peopled = time.monotonic()
        if time.monotonic() - self._peopled > self._patience_s + LOOK_S:
            raise StepFailed(
                f"the Dask cluster at {self.address} has had no worker for {self._patience_s:.0f} s "
                "(execution.machine_wait_s). Start some, then release again; finished steps are reused."
            )

    def _has_workers(self) -> bool:
        try:
            return self._client.status == "running" and bool(self.slots())
        except Exception:  # noqa: BLE001 - of every kind where the connection is lost at this moment
            return False

    def _cut_off(self) -> StepFailed:
        if self._ended:
            return StepFailed("cancelled because the release is ending.")
        return StepFailed(
            f"the Dask scheduler at {self.address} does not answer any more. Start it again, then release again; "
            "finished steps are reused."
        )

    def _explained(self, error: Exception) -> StepFailed:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            last = getattr(error.last_worker, "address", error.last_worker)
            return WorkerKilled(
                f"workers of the Dask cluster were lost while they did it, {error.allowed_failures + 1} one after the "
                f"other, at last {last}. Their logs may say why; memory is the usual reason."
            )
        return StepFailed(f"a worker of the Dask cluster could not carry it out: {type(error).__name__}: {error}")


def _connect(address: str, name: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise SlipwayError(
            "execution.runner is dask, and Dask is not installed here. Install Slipway with its extra `dask`, on every "
            "machine of the cluster as well; or write runner: threads."
        ) from None
    for logger in ("distributed", "distributed.client"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # what they say on stderr, our errors say in a sentence
    try:
        return Client(address, name=name, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise SlipwayError(
            f"No Dask scheduler answers at {address}: {why}. Start one there, or correct execution.address."
        ) from error
