"""Judge: verdicts of every gate for every candidate of one target, and its winner."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation.assessment import Assessment, AssessRequest
from tasks.execution.steps import Executor


@task(name="judge", cache_policy=NO_CACHE, persist_result=False)
def judge(executor: Executor, request: AssessRequest) -> Assessment:
    """Judge one target from its stored predictions and samples; never reused.

    Raises:
        SlipwayError: the reference itself cannot be judged.
    """
    answer: Assessment = executor.perform(
        f"judge {request.target}", "tasks.evaluation.assess:assess", request, kind="plain"
    )
    return answer
