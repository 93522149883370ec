"""Targets whose machine is another one: what its worker is asked, and what becomes of its answer.

The machine answers through the store; Prefect carries only an order's id. A machine that cannot answer costs its own
target, after a bounded time and with the reason.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.candidates import Contestant
from flows.champion import Champion, is_named
from flows.desk import Desk
from flows.waiting import Watch
from flows.work_pools import create_pool, has_pool
from tasks.foundations.errors import StepFailed
from tasks.hardware.exchange import place_order
from tasks.hardware.order import Answer, Order, Place
from tasks.store.artifact import Artifact

if TYPE_CHECKING:
    from uuid import UUID

FLOW = "hardware"
MEASURE_S = 3600.0  # that measuring may take, and waiting for others who measure on that machine
DESCRIPTION = (
    "Predicts and measures on the machines of the work pool **{pool}**, for releases whose targets name it. Started by "
    "releases; nobody needs to press `Run`."
)


def ask_machines(
    desk: Desk, contestants: Sequence[Contestant], dataset: Artifact, champion: Champion
) -> dict[str, Answer]:
    """Let every target that has a machine of its own be predicted and measured there, all side by side.

    Returns:
        Target -> what its machine has found out, or why it has not; without the targets of this machine.
    """
    places = [place for place, target in desk.config.targets.items() if target.work_pool]
    orders = [_order(desk, place, contestants, dataset, champion) for place in places]
    if not orders:
        return {}
    with ThreadPoolExecutor(len(orders)) as threads:
        asked = [threads.submit(copy_context().run, _ask, desk, order) for order in orders]
        return {order.place: each.result() for order, each in zip(orders, asked, strict=True)}


def answered(each: Contestant, answers: Mapping[str, Answer]) -> Contestant:
    """A contestant with what its target's machine has found out."""
    answer = answers.get(each.target)
    if answer is None or each.failure:
        return each
    failure = answer.failure or answer.failures.get(each.name)
    if failure:
        return replace(each, failure=failure)
    return replace(each, predictions=answer.predictions[each.name], golden=answer.golden[each.name])


def _order(desk: Desk, place: str, contestants: Sequence[Contestant], dataset: Artifact, champion: Champion) -> Order:
    config = desk.config
    models = {each.name: each.model for each in contestants if each.target == place and each.model and not each.failure}
    return Order(
        release=desk.release,
        model=config.name,
        place=place,
        target=config.targets[place],
        dataset=dataset.digest,
        candidates={
            name: Place(artifact=model.digest, digest=model.digest, format=model.format)
            for name, model in models.items()
        },
        champion=_champion(desk, place, champion),
        task=config.task,
        gates=tuple(config.gates),
        seed=config.seed,
        step_timeout_s=config.execution.step_timeout_s,
    )


def _champion(desk: Desk, place: str, champion: Champion) -> Place | None:
    target = champion.manifest.targets.get(place) if champion.manifest else None
    if champion.manifest is None or target is None or not is_named(desk.config, place):
        return None
    content = desk.store.read(f"bundles/{champion.manifest.digest}.json")
    if content is None:
        return None
    bundle = Artifact.model_validate_json(content).digest
    return Place(artifact=bundle, folder=target.path, digest=target.winner, format=target.form)


def _ask(desk: Desk, order: Order) -> Answer:
    stage = f"machine {order.place}"
    if not order.candidates:
        return Answer()
    try:
        with desk.executor.stage(stage):
            return _wait(desk, order, stage)
    except StepFailed as error:
        return Answer(failure=str(error))


def _wait(desk: Desk, order: Order, stage: str) -> Answer:
    pool = getattr(order.target, "work_pool", "")
    run = _start(pool, place_order(desk.store, order))
    watch = Watch(
        store=desk.store,
        run=run,
        pool=pool,
        patience_s=desk.config.execution.machine_wait_s,
        limit_s=order.step_timeout_s * 2 * (len(order.candidates) + 1) + MEASURE_S,
        tell=lambda text: desk.executor.observer.update(stage, None, text),
    )
    answer = watch.answer()
    if answer.failure:
        raise StepFailed(answer.failure)
    made = [*answer.predictions.values(), *answer.golden.values(), answer.measurement]
    desk.executor.digests.update(artifact.digest for artifact in made if artifact)
    return answer


def _start(pool: str, order: str) -> "UUID":
    """Start a run on a machine of the pool; the deployment is made anew, because it belongs to this version's code."""
    from prefect.client.orchestration import get_client
    from prefect.deployments import run_deployment

    from flows.forms import form
    from flows.hardware import hardware

    with get_client(sync_client=True) as client:
        if not has_pool(client, pool):
            create_pool(client, pool)
        client.create_deployment(
            flow_id=client.create_flow_from_name(FLOW),
            name=pool,
            work_pool_name=pool,
            entrypoint="flows.hardware.hardware",
            description=DESCRIPTION.format(pool=pool),
            tags=["slipway", FLOW],
            parameter_openapi_schema=form(hardware, {}),
            enforce_parameter_schema=True,
        )
    started: Any = run_deployment(f"{FLOW}/{pool}", parameters={"order": order}, timeout=0)
    run: UUID = started.id
    return run
