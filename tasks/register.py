"""Register: the release in MLflow, and its bundle as a version. Retried, because a registry may be a server."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.execution.steps import Executor
from tasks.registry.jobs import AttachRequest, InitializeRequest, PublishRequest, PublishResult
from tasks.registry.records import Place


@task(name="open registry", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=2)
def open_registry(executor: Executor, place: Place) -> None:
    """Create tables and experiment while the model still trains."""
    executor.perform("open registry", "tasks.registry.jobs:initialize", InitializeRequest(place=place), kind="plain")


@task(name="register", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=2)
def register(executor: Executor, request: PublishRequest) -> PublishResult:
    """Log the release and register its bundle; doing it twice registers one version."""
    answer: PublishResult = executor.perform("register", "tasks.registry.jobs:publish", request, kind="plain")
    return answer


@task(name="attach report", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=2)
def attach_report(executor: Executor, request: AttachRequest) -> None:
    """Add the report to the release's MLflow run."""
    executor.perform("attach report", "tasks.registry.jobs:attach", request, kind="plain")
