"""Rehearse: golden requests of a candidate on its target. Before the barrier, because afterwards no worker is left."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bundle.golden_job import GoldenRequest
from tasks.data.dataset import open_dataset
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.runtimes.environment import cpu_class
from tasks.store.artifact import Artifact


@task(name="rehearse", task_run_name="rehearse {candidate} on {place}", cache_policy=NO_CACHE, persist_result=False)
def rehearse(
    executor: Executor,
    candidate: str,
    place: str,
    target: Record,
    model: Artifact,
    dataset: Artifact,
    registered: str,
    kind: AnyTask,
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
        kind: the task; the top class of every row is guarded too where it is a classification.

    Raises:
        StepFailed: the answers are not finite, or not the same twice.
    """
    settings = target.model_dump(mode="json")
    guarded = {"classification": kind.kind == "classification", "judged": getattr(kind, "judged", None)}
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
    )
    split = open_dataset(executor.store.path(dataset.digest))["test"]
    return executor.produce(
        step,
        lambda out: GoldenRequest(
            folder=str(executor.store.path(model.digest)),
            target=target,
            split=split,
            **guarded,
            seed=executor.seed,
            out=str(out),
            model=registered,
        ),
    )
