"""Reconcile: finish or undo what a killed process left."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.promotion import reconcile as promotion
from tasks.promotion.control import Control
from tasks.promotion.reconcile import Repairs


@task(name="reconcile", cache_policy=NO_CACHE, persist_result=False)
def reconcile(control: Control, model: str | None) -> dict[str, Repairs]:
    """See `tasks.promotion.reconcile`; every model if none is named."""
    return {model: promotion.reconcile(control, model)} if model else promotion.reconcile_all(control)
