"""Pack: the winners of all targets, sealed in one bundle that plain MLflow loads."""

from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bundle.manifest import Manifest
from tasks.bundle.write import BundleRequest
from tasks.execution.steps import Executor, Step
from tasks.store.artifact import Artifact


@task(name="pack", cache_policy=NO_CACHE, persist_result=False)
def pack(executor: Executor, request: Callable[[Path], BundleRequest]) -> Artifact:
    """Publish the bundle, findable by its manifest's digest.

    Args:
        executor: of the release.
        request: what to bundle into the folder that it is given.
    """
    step = Step(
        name="pack",
        job="tasks.registry.jobs:write_bundle",
        format="bundle",
        inputs={},
        settings={},
        rooms=("bundle", "registry"),
        kind="plain",
        always=True,
    )
    artifact = executor.produce(step, lambda _, out: request(out))
    digest = Manifest.read(executor.store.path(artifact.digest)).digest
    executor.store.write(f"bundles/{digest}.json", artifact.model_dump_json())
    return artifact
