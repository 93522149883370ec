"""Load: take a model that came trained, from a file, a folder or a registry; what `build` and `train` do for others."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation.meaning import meaning_of
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor, Step
from tasks.models.load import InspectRequest, LoadRequest, Trained
from tasks.models.sources._source import Inspected
from tasks.store.artifact import Artifact

LIBRARIES = {
    "keras": ("tensorflow", "keras", "h5py", "numpy"),
    "tf_keras": ("tensorflow", "tf-keras", "keras", "h5py", "numpy"),
    "saved_model": ("tensorflow", "numpy"),
}


@task(name="load", cache_policy=NO_CACHE, persist_result=False)
def load(executor: Executor, source: Trained, folder: Path, kind: AnyTask) -> Artifact:
    """Publish the model folder of a trained model; its files are read each time, and opened when they have changed.

    Args:
        executor: of the release.
        source: a file or folder of a trained model.
        folder: of the config.
        kind: the task; a model whose last layer contradicts it is refused.

    Returns:
        A model folder, whose format says how it can be trained further: `keras`, `tf_keras`, or `saved_model`, not.

    Raises:
        InputError: the files are damaged, unsafe or no model that fits the task.
    """
    meaning = meaning_of(kind)
    found: Inspected = executor.perform(
        "inspect", "tasks.models.load:inspect", InspectRequest(source=source, folder=str(folder)), once=True
    )
    step = Step(
        name="load",
        job="tasks.models.load:load",
        format=found.format,
        inputs={},
        settings={
            "model": found.digest,
            "source": source.model_dump(mode="json", exclude={"path"}),  # the same content elsewhere is the same model
            "meaning": meaning.model_dump(),
        },
        rooms=("models",),
        libraries=LIBRARIES[found.format],
        kind="legacy" if found.format == "tf_keras" else "keras3",
        once=True,
    )
    return executor.produce(
        step,
        lambda _, out: LoadRequest(
            source=source, folder=str(folder), digest=found.digest, meaning=meaning, out=str(out)
        ),
    )
