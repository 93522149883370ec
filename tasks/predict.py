"""Predict: a model's outputs on the test rows, on its own target. What crosses machines is these arrays."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import Split, open_dataset
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.foundations.worker_process import Kind
from tasks.runtimes.environment import cpu_class
from tasks.runtimes.predict import PredictRequest
from tasks.runtimes.target import computing, on_processor, worker_of
from tasks.store.artifact import Artifact

REFERENCE_BATCH = 256


@task(name="predict", task_run_name="predict {candidate} on {place}", cache_policy=NO_CACHE, persist_result=False)
def predict(
    executor: Executor,
    candidate: str,
    place: str,
    target: Record,
    model: Artifact,
    dataset: Artifact,
    batch_size: int | None = None,
    folder: Path | None = None,
    split: str = "test",
    rows: Split | None = None,
    kind: Kind | None = None,
) -> Artifact:
    """Publish the outputs of one model on one split.

    Args:
        executor: of the release.
        candidate: whose model it is.
        place: name of the target.
        target: a choice of tasks/runtimes.
        model: in the form that the target opens.
        dataset: the release's data.
        batch_size: rows a call where it should differ from the target's.
        folder: where the model lies if it is no artifact of its own (the champion, inside its bundle).
        split: name of the split; a teacher predicts those that its students train on.
        rows: the split, for whoever has no whole data set here.
        kind: of worker; `plain` ones need no TensorFlow. Default: as the target needs it.

    Raises:
        StepFailed: the runtime refuses the model.
    """
    settings = computing(target)
    step = Step(
        name=f"predict {place}" if split == "test" else f"teach {split}",
        job="tasks.runtimes.predict:predict",
        format="predictions",
        inputs={"model": model, "data": dataset},
        settings={"target": settings, "batch_size": batch_size, "split": split},
        rooms=("runtimes", "models", "data"),
        libraries=(str(settings["runtime"]), "numpy"),
        candidate=candidate,
        cpu=cpu_class(),
        kind=kind or worker_of(target),
        travels=folder is None and rows is None and on_processor(target),
    )
    return executor.produce(
        step,
        lambda store, out: PredictRequest(
            folder=str(folder or store.path(model.digest)),
            out=str(out),
            target=target,
            split=rows or open_dataset(store.path(dataset.digest))[split],
            batch_size=batch_size,
        ),
    )
