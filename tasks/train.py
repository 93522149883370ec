"""Train: fit the built model and save it, as a SavedModel and in a form that can be trained again."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation.meaning import meaning_of
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.models.build import BuildResult
from tasks.runtimes.environment import cpu_class
from tasks.store.artifact import Artifact
from tasks.training.config import TrainingConfig
from tasks.training.fit import FitSettings
from tasks.training.train import TrainRequest


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train(
    executor: Executor,
    source: Record,
    folder: Path,
    built: BuildResult,
    dataset: Artifact,
    training: TrainingConfig,
    kind: AnyTask,
) -> Artifact:
    """Train the model of a config.

    Raises:
        StepFailed: the training diverged.
    """
    settings = FitSettings(
        training=training,
        meaning=meaning_of(kind),
        seed=executor.seed,
        folder=str(folder),
    )
    step = Step(
        name="train",
        job="tasks.training.train:train",
        format="keras",
        inputs={"data": dataset},
        settings={"model": built.digest, "training": training.model_dump(mode="json"), "task": kind.model_dump()},
        rooms=("training", "models", "data"),
        libraries=("tensorflow", "keras", "numpy"),
        user_sources=training.source_digest(folder),
        cpu=cpu_class(),
        once=True,
    )
    return executor.produce(
        step,
        lambda store, out: TrainRequest(
            source=source,
            fingerprint=built.fingerprint,
            dataset=str(store.path(dataset.digest)),
            settings=settings,
            out=str(out),
        ),
    )
