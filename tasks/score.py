"""Score: the reference by every metric, before candidates are made: the user's own code may not work at all."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluation.assessment import AssessRequest, Quality
from tasks.execution.steps import Executor


@task(name="score", cache_policy=NO_CACHE, persist_result=False)
def score(executor: Executor, request: AssessRequest) -> Quality:
    """Call every metric on the reference's predictions; never reused.

    Raises:
        InputError: a metric of the user's own raised, or gave no finite number.
        SlipwayError: labels, outputs and task do not fit.
    """
    answer: Quality = executor.perform("score reference", "tasks.evaluation.assess:score", request, kind="plain")
    return answer
