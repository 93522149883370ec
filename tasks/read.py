"""Read: take the user's data, check all of it and publish it. Always runs: its content is the key of what follows."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.expected import Expected
from tasks.data.write import ReadRequest
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.models.signature import Signature
from tasks.store.artifact import Artifact


@task(name="read", cache_policy=NO_CACHE, persist_result=False)
def read(
    executor: Executor,
    source: Record,
    folder: Path,
    kind: AnyTask,
    signature: Signature,
    needs_train: bool,
) -> Artifact:
    """Publish the data set of a config, checked against the model's signature.

    Raises:
        InputError: the data is not usable; the sentence names split, column and row.
    """
    classes, judged = getattr(kind, "classes", None) or (), getattr(kind, "judged", None)
    step = Step(
        name="read",
        job="tasks.data.write:read_data",
        format="dataset",
        inputs={},
        settings={"source": source.model_dump(mode="json"), "task": kind.kind, "classes": classes, "judged": judged},
        rooms=("data",),
        always=True,
        once=True,
    )
    return executor.produce(
        step,
        lambda _, out: ReadRequest(
            source=source,
            folder=str(folder),
            task=kind.kind,
            seed=executor.seed,
            out=str(out),
            needs_train=needs_train,
            classes=classes,
            judged=judged,
            signature=Expected.model_validate(signature, from_attributes=True),
        ),
    )
