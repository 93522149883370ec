"""Rehearse: golden requests of a candidate on its target. Before the barrier, because afterwards no worker is left."""

from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE

from tasks.bundle.golden_job import GoldenRequest
from tasks.data.dataset import Split, open_dataset
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.foundations.worker_process import Kind
from tasks.runtimes.environment import cpu_class
from tasks.runtimes.target import computing, on_processor, worker_of
from tasks.store.artifact import Artifact


@prefect_task(
    name="rehearse", task_run_name="rehearse {candidate} on {place}", cache_policy=NO_CACHE, persist_result=False
)
def rehearse(
    executor: Executor,
    candidate: str,
    place: str,
    target: Record,
    model: Artifact,
    dataset: Artifact,
    registered: str,
    task: AnyTask,
    rows: Split | None = None,
    kind: Kind | None = None,
) -> Artifact:
    """Publish golden requests with the candidate's own answers, and a SavedModel's warm-up records.

    Args:
        executor: of the release.
        candidate: whose model it is.
        place: name of the target.
        target: a choice of tasks/runtimes.
        model: in the form that the target opens.
        dataset: the release's data.
        registered: name that the model is served under.
        task: the top class of every row is guarded too where it is a classification.
        rows: the test split, for whoever has no whole data set here.
        kind: of worker; `plain` ones need no TensorFlow. Default: as the target needs it.

    Raises:
        StepFailed: the answers are not finite, or not the same twice.
    """
    settings = computing(target)
    guarded = {"classification": task.kind == "classification", "judged": getattr(task, "judged", None)}
    step = Step(
        name=f"rehearse {place}",
        job="tasks.bundle.golden_job:write_golden",
        format="golden",
        inputs={"model": model, "data": dataset},
        settings={"target": settings, "model": registered, **guarded},
        rooms=("bundle", "runtimes", "models", "data"),
        libraries=(str(settings["runtime"]), "numpy"),
        candidate=candidate,
        cpu=cpu_class(),
        kind=kind or worker_of(target),
        travels=rows is None and on_processor(target),
    )
    seed = executor.seed
    return executor.produce(
        step,
        lambda store, out: GoldenRequest(
            folder=str(store.path(model.digest)),
            target=target,
            split=rows or open_dataset(store.path(dataset.digest))["test"],
            **guarded,
            seed=seed,
            out=str(out),
            model=registered,
        ),
    )
