"""Waiting for a run on another machine, in bounded time: there may be no worker, it may die, or be cut off."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.work_pools import has_worker
from tasks.foundations.errors import InputError, SlipwayError, StepFailed
from tasks.hardware.exchange import Listener, read_answer
from tasks.hardware.order import Answer
from tasks.store.store import Store

POLL_S = 1.0


class _TooLong(StepFailed):
    """A run that lives, and takes longer than it may."""


@dataclass(frozen=True)
class Watch:
    """A run that was asked for.

    Attributes:
        store: where its answer will lie.
        run: id of the flow run.
        pool: whose workers can take it.
        patience_s: how long nobody may be heard of: no worker that could take it, no sign of life of the run.
        limit_s: how long it may wait for a free worker, and then how long it may take.
        tell: told what the machine says of itself.
    """

    store: Store
    run: UUID
    pool: str
    patience_s: float
    limit_s: float
    tell: Callable[[str], None]

    def answer(self) -> Answer:
        """Wait for it; a run that is given up, or that nobody waits for any more, is cancelled.

        Raises:
            StepFailed: there will be no answer; the message says why and what to do.
        """
        from prefect.states import Cancelling, Crashed

        try:
            return self._wait()
        except _TooLong as error:  # it lives: its worker ends it
            self._end(Cancelling(message=str(error)))
            raise
        except StepFailed as error:
            self._end(Crashed(message=str(error)))
            raise
        except BaseException:  # Ctrl-C: as above
            self._end(Cancelling(message="The release was ended."))
            raise

    def _wait(self) -> Answer:
        listener, deadline = Listener(self.store, str(self.run)), time.monotonic() + self.limit_s
        known = None
        while True:
            state = self._state()
            if state is not None and state.type != known:  # taken by a worker, begun: a sign of life like any other
                known = state.type
                listener.hear()
                deadline = time.monotonic() + self.limit_s
            answer = self._answer()
            if answer is not None:
                return answer
            if state is not None and state.is_final():
                raise StepFailed(f"the run on its machine ended as {state.name}: {state.message or 'without a word'}")
            said = listener.listen()
            if said:
                self.tell(said)
            if listener.silent_s > self.patience_s:
                self._give_up(state, listener.silent_s)
            if time.monotonic() > deadline:
                raise _TooLong(f"its machine has not ended within {self.limit_s:.0f} s; its run was cancelled")
            time.sleep(POLL_S)

    def _answer(self) -> Answer | None:
        try:
            return self._read()
        except InputError:  # perhaps half-written: not every kind of store replaces a file at once
            time.sleep(POLL_S)
        try:
            return self._read()
        except InputError as error:
            raise StepFailed(str(error)) from error

    def _read(self) -> Answer | None:
        try:
            return read_answer(self.store, str(self.run))
        except InputError:
            raise
        except SlipwayError:  # the store, too, may be out of reach for a while
            return None

    def _give_up(self, state: Any, silent_s: float) -> None:
        if state is None:
            raise StepFailed(
                f"neither Prefect's server nor its machine has been heard of for {silent_s:.0f} s. Release again when "
                "they are back; what was finished is reused"
            )
        if state.is_running():
            raise StepFailed(
                f"its machine has been silent for {silent_s:.0f} s: the worker died, or is cut off from the store. "
                "Release again when it is back; what it has finished is reused"
            )
        if not self._has_worker():
            raise StepFailed(
                f"no worker of the work pool {self.pool!r} has taken the work within {silent_s:.0f} s. Start one on "
                f"that machine: `prefect worker start --pool {self.pool!r}`, with the PREFECT_API_URL and "
                "SLIPWAY_STORE_URL of this release"
            )
        self.tell(f"waiting for a free worker of {self.pool}")

    def _state(self) -> Any:
        """The run's state; None where the server cannot be reached."""
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        try:
            with get_client(sync_client=True) as client:
                return client.read_flow_run(self.run).state
        except ObjectNotFound as error:
            raise StepFailed(
                "its run is not there any more: somebody has deleted it, or Prefect's server has lost its database. "
                "Release again; what was finished is reused"
            ) from error
        except (httpx.HTTPError, RuntimeError):  # the latter where it does not even tell its version
            return None

    def _has_worker(self) -> bool:
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.exceptions import PrefectException

        try:
            with get_client(sync_client=True) as client:
                return has_worker(client, self.pool)
        except (httpx.HTTPError, RuntimeError, PrefectException):
            return False

    def _end(self, state: Any) -> None:
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.exceptions import PrefectException
        from prefect.states import Cancelled

        with suppress(httpx.HTTPError, RuntimeError, PrefectException), get_client(sync_client=True) as client:
            found = client.read_flow_run(self.run).state
            if found is not None and found.is_final():
                return
            if (
                found is not None and found.is_scheduled() and state.is_cancelling()
            ):  # no worker has it that could end it
                state = Cancelled(message=state.message)
            client.set_flow_run_state(self.run, state, force=True)
