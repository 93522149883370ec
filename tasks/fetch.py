"""Fetch: a registered model's files, from MLflow into the store. Always runs: aliases move, and content is the key."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.execution.steps import Executor, Step
from tasks.models.sources.registered import Registered
from tasks.registry.fetch import FetchRequest
from tasks.registry.records import Place
from tasks.store.artifact import Artifact


@task(name="fetch", cache_policy=NO_CACHE, persist_result=False)
def fetch(executor: Executor, source: Registered, place: Place) -> Artifact:
    """Publish the Keras file or SavedModel of a registered version.

    Returns:
        The files; `result` is a `FetchResult`.

    Raises:
        InputError: there is no such version, or it holds nothing that can be opened safely.
        SlipwayError: MLflow cannot be reached.
    """
    step = Step(
        name="fetch",
        job="tasks.registry.fetch:fetch",
        format="registered",
        inputs={},
        settings={"model": source.name, "version": source.version, "alias": source.alias},
        rooms=("registry",),
        libraries=("mlflow",),
        kind="plain",
        always=True,
        once=True,
    )
    return executor.produce(
        step,
        lambda _, out: FetchRequest(
            place=place,
            name=source.name,
            version=source.version,
            alias=source.alias,
            has_code=source.custom_objects is not None,
            out=str(out),
        ),
    )
