"""Candidates of one release on a Dask cluster: who is fit for them, and how their steps get there and back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from flows.fitness import differences, facts, probe
from flows.site import Assignment, carry_out, leave, topic
from tasks.execution.cluster import Cluster
from tasks.execution.settings import Execution
from tasks.execution.stages import Observer
from tasks.execution.steps import Request, Step
from tasks.foundations.errors import SlipwayError
from tasks.store.artifact import Artifact
from tasks.store.store import Store


class Dispatch:
    """Has the steps of one release carried out on a cluster.

    A plain class on purpose: Prefect copies the fields of data classes that are passed to tasks.
    """

    def __init__(self, cluster: Cluster, observer: Observer, release: str, seed: int, execution: Execution) -> None:
        self._cluster, self._release, self._seed, self._execution = cluster, release, seed, execution
        self._carried: set[tuple[str, str | None]] = set()
        self._observer = observer
        cluster.listen(topic(release), self._hear)

    def carry(self, step: Step, request: Request) -> Artifact:
        """See `tasks.execution.steps.Carrier`."""
        assignment = Assignment(
            release=self._release,
            step=step,
            request=request,
            seed=self._seed,
            step_timeout_s=self._execution.step_timeout_s,
            memory_limit_gb=self._execution.memory_limit_gb,
            facts=facts(),
        )
        self._carried.add((step.name, step.candidate))
        try:
            artifact: Artifact = self._cluster.call(carry_out, assignment)
            return artifact
        finally:
            self._carried.discard((step.name, step.candidate))

    def rest(self) -> None:
        """See `tasks.execution.steps.Carrier`."""
        with suppress(SlipwayError):  # a cluster that is gone does nothing for this release any more
            self._cluster.everywhere(leave, self._release)

    def end(self) -> None:
        """See `tasks.execution.steps.Carrier`."""
        self._cluster.end()

    def _hear(self, told: dict[str, str | None]) -> None:
        stage, candidate, text = str(told["stage"]), told["candidate"], str(told["text"])
        if (stage, candidate) in self._carried:  # what arrives after the stage has ended is of no interest
            self._observer.update(stage, candidate, text)


@contextmanager
def dispatch_of(
    execution: Execution, store: Store, observer: Observer, *, release: str, seed: int
) -> Iterator[Dispatch | None]:
    """How steps of a release reach the cluster that its config names, once all its workers are found fit for them.

    None where candidates are made on this machine.

    Raises:
        SlipwayError: no scheduler or no worker is there, or a worker is not fit; nothing was started.
    """
    if execution.runner != "dask" or execution.address is None:
        yield None
        return
    with Cluster(execution.address, f"slipway-{release}", execution.machine_wait_s) as cluster:
        _check(cluster, store)
        slots = cluster.slots()
        at_once = sum(slots.values())
        observer.log(
            f"Candidates are made on {len(slots)} Dask worker{'s'[: len(slots) != 1]}, "
            f"{at_once} step{'s'[: at_once != 1]} at once."
        )
        dispatch = Dispatch(cluster, observer, release, seed, execution)
        yield dispatch
        dispatch.rest()  # after an error the workers notice by themselves that nobody waits any more


def _check(cluster: Cluster, store: Store) -> None:
    if not cluster.slots():
        cluster.call(len, ())  # a cluster that adapts to its work starts a worker for it
    token = uuid4().hex
    store.write(f"probes/{token}.json", "{}")
    answers = cluster.everywhere(probe, token)
    unfit = {address: why for address, answer in answers.items() if (why := _unfit(answer, store))}
    if unfit:
        address, why = next(iter(unfit.items()))
        raise SlipwayError(
            f"{len(unfit)} of {len(answers)} workers of the Dask cluster at {cluster.address} cannot make "
            f"candidates of this release. {address}: {why} Nothing was started."
        )


def _unfit(answer: object, store: Store) -> str:
    """Why a worker that has answered so cannot carry out steps, empty if it can."""
    if isinstance(answer, SlipwayError):
        return str(answer)
    if not isinstance(answer, tuple):
        return f"it cannot run Slipway ({type(answer).__name__}: {answer}). Install the release's version there."
    found, mark = answer
    different = differences(found, facts())
    if different:
        return f"it is not like this machine: {different}. Give both the same installation."
    if store.read(mark) is None:
        return f"what it writes in its store does not arrive in {store.url}. Let both use the same store."
    return ""
