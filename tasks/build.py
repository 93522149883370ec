"""Build: call the user's model code and learn what model it is. Always runs: what it yields is the key of the rest."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation.meaning import meaning_of
from tasks.evaluation.task import AnyTask
from tasks.execution.steps import Executor
from tasks.foundations.record import Record
from tasks.models.build import BuildRequest, BuildResult


@task(name="build", cache_policy=NO_CACHE, persist_result=False)
def build(executor: Executor, source: Record, folder: Path, kind: AnyTask) -> BuildResult:
    """Describe the untrained model of a config.

    Raises:
        InputError: the user's code raised, or returned no usable model.
    """
    request = BuildRequest(source=source, folder=str(folder), seed=executor.seed, meaning=meaning_of(kind))
    answer: BuildResult = executor.perform("build", "tasks.models.build:build", request, once=True)
    return answer
