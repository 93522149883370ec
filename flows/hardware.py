"""The flow `hardware`: what a target's own machine does for a release. It needs the target's runtime and the store.

Neither TensorFlow (unless the target's runtime is that), nor MLflow, nor the journal, nor a config. Verbs are called as
plain functions: as Prefect's tasks they would fail while its server is restarted.
"""

import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from pydantic import Field

from flows.cause import parameters, run_id
from flows.diary import JsonLog, open_display
from flows.forms import readable
from flows.home import Home, home
from flows.observer import Observer
from flows.storage import open_store
from tasks.data.dataset import FILE, Split, open_dataset
from tasks.evaluation.assess import CHAMPION
from tasks.execution.settings import Execution
from tasks.execution.steps import Executor
from tasks.foundations.errors import Conflict, InputError, SlipwayError, StepFailed
from tasks.foundations.locks import hold, machine_lock
from tasks.foundations.workers import Workers
from tasks.hardware.exchange import Pulse, pulse, read_order, write_answer
from tasks.hardware.order import Answer, Order, Place
from tasks.measure import measure
from tasks.predict import predict
from tasks.rehearse import rehearse
from tasks.reports.display import Display
from tasks.runtimes.environment import read_environment
from tasks.store.artifact import Artifact
from tasks.store.store import Store

LIMIT = "slipway-measure-{host}"
LIMIT_WAIT_S = 5.0
OrderId = Annotated[str, Field(title="Order", description="Id of the release's order in the store.")]


def _name() -> str:
    return f"hardware {parameters()['order'][:12]}"


@readable
@flow(name="hardware", flow_run_name=_name, persist_result=False)
def hardware(order: OrderId) -> None:
    """Predict, rehearse and measure what a release has ordered, on this machine; the answer lies in the store.

    Raises:
        SlipwayError: the order cannot be read here.
    """
    place = home()
    store = open_store(place)
    run = run_id() or order
    with pulse(store, run) as living:
        try:
            wanted = read_order(store, order)
            with _executor(place, store, wanted, run, living) as executor:
                answer = _answer(executor, wanted)
        except SlipwayError as error:
            write_answer(store, run, Answer(failure=str(error), environment=read_environment()))
            raise
        write_answer(store, run, answer)


class _Telling(Observer):
    """As everywhere, and in the pulse that the release hears."""

    def __init__(self, display: Display | JsonLog, living: Pulse) -> None:
        super().__init__(display)
        self._living = living

    def start(self, stage: str, candidate: str | None = None) -> None:
        super().start(stage, candidate)
        self._living.text = " ".join(filter(None, [stage, candidate]))

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        super().update(stage, candidate, text)
        self._living.text = text


@contextmanager
def _executor(place: Home, store: Store, order: Order, run: str, living: Pulse) -> Iterator[Executor]:
    store.sweep_scratch()
    settings = Execution(workers=1).worker_settings(1, str(place.logs / f"{run}.log"))
    with (
        store.scratch() as temporary,
        open_display("hardware", order.release, order.model) as display,
        Workers(settings.model_copy(update={"temporary": str(temporary)})) as workers,
    ):
        observer = _Telling(display, living)
        yield Executor(store, workers, observer, seed=order.seed, step_timeout_s=order.step_timeout_s)


def _answer(executor: Executor, order: Order) -> Answer:
    rows = _test_rows(executor.store, order)
    models = dict(order.candidates) | ({CHAMPION: order.champion} if order.champion else {})
    predictions: dict[str, Artifact] = {}
    golden: dict[str, Artifact] = {}
    failures: dict[str, str] = {}
    for name, model in models.items():
        try:
            predictions[name] = _predict(executor, order, name, model, rows)
            if name in order.candidates:
                golden[name] = _rehearse(executor, order, name, model, rows)
        except (StepFailed, InputError) as error:
            failures[name] = str(error)
    executor.workers.close()  # nothing of this run beside a measurement
    able = {name: model for name, model in models.items() if name not in failures}
    measurement = _measure(executor, order, able, rows) if able.keys() & order.candidates.keys() else None
    return Answer(
        environment=read_environment(),
        predictions=predictions,
        golden=golden,
        failures=failures,
        measurement=measurement,
    )


def _test_rows(store: Store, order: Order) -> Split:
    """The test split alone: the rest of the data set stays where it is."""
    folder = store.part(order.dataset, lambda name: name == FILE or name.startswith("test/"))
    return open_dataset(folder)["test"]


def _predict(executor: Executor, order: Order, name: str, model: Place, rows: Split) -> Artifact:
    made: Artifact = predict.fn(
        executor,
        name,
        order.place,
        order.target,
        _known(model),
        _dataset(order),
        folder=_folder(executor.store, model),
        rows=rows,
        kind="plain",
    )
    return made


def _rehearse(executor: Executor, order: Order, name: str, model: Place, rows: Split) -> Artifact:
    made: Artifact = rehearse.fn(
        executor,
        name,
        order.place,
        order.target,
        _known(model),
        _dataset(order),
        order.model,
        order.task,
        rows=rows,
        kind="plain",
    )
    return made


def _measure(executor: Executor, order: Order, models: dict[str, Place], rows: Split) -> Artifact:
    """Alone on the machine: its own lock keeps whoever measures here apart, Prefect's limit shows it to all."""
    contenders = {name: (model.digest, _folder(executor.store, model)) for name, model in models.items()}
    owner = f"release {order.release} of {order.model}"
    with _limit(executor):
        made: Artifact = measure.fn(executor, order.place, order.target, contenders, rows, order.gates, owner)
    return made


@contextmanager
def _limit(executor: Executor) -> Iterator[None]:
    """Prefect's limit of this machine. The machine's own lock is what counts: nobody waits long for the limit."""
    name = LIMIT.format(host=platform.node())
    with ExitStack() as held:
        try:
            _take(held, name)
        except (httpx.HTTPError, RuntimeError, TimeoutError, ConcurrencySlotAcquisitionError) as error:
            executor.observer.log(f"Prefect's limit {name} cannot be had ({error or type(error).__name__}).")
        yield
        with suppress(httpx.HTTPError, RuntimeError):  # its lease ends by itself
            held.close()


def _take(held: ExitStack, name: str) -> None:
    """Take the slot; one that a restart of Prefect's server has left taken for ever is given back first.

    Leases lie in that server's memory. While nobody holds the machine's lock, no slot is rightly taken.
    """
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        with suppress(Conflict), hold(machine_lock("measure"), "a look at Prefect's limit", timeout_s=0):
            client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
    slot = concurrency(name, occupy=1, timeout_seconds=LIMIT_WAIT_S, strict=True, raise_on_lease_renewal_failure=False)
    held.enter_context(slot)


def _known(model: Place) -> Artifact:
    """By what its results are known: the champion's own digest, not that of the bundle around it."""
    return Artifact(uri="", format=model.format, digest=model.digest, size_bytes=0)


def _dataset(order: Order) -> Artifact:
    return Artifact(uri="", format="dataset", digest=order.dataset, size_bytes=0)


def _folder(store: Store, model: Place) -> Path:
    return store.path(model.artifact) / model.folder
