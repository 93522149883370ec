"""Rollback: put the version before back in production."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.promotion import moves
from tasks.promotion.control import Control, Move, Order


@task(name="rollback", task_run_name="rollback {model}", cache_policy=NO_CACHE, persist_result=False)
def rollback(control: Control, model: str, order: Order, to: int | None = None) -> Move:
    """See `tasks.promotion.moves.rollback`; a repeated order with the same request id is applied once."""
    return moves.rollback(control, model, order, to)
