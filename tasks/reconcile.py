"""Reconcile: finish or undo what a killed process left."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.promotion import reconcile as promotion
from tasks.promotion.control import Control


@task(name="reconcile", cache_policy=NO_CACHE, persist_result=False)
def reconcile(control: Control, model: str) -> list[str]:
    """See `tasks.promotion.reconcile.reconcile`."""
    return promotion.reconcile(control, model)
