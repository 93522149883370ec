"""Promote: put a registered version in production."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.promotion import moves
from tasks.promotion.control import Control, Move, Order


@task(name="promote", task_run_name="promote {model} {version}", cache_policy=NO_CACHE, persist_result=False)
def promote(control: Control, model: str, version: int, order: Order) -> Move:
    """See `tasks.promotion.moves.promote`; a repeated order with the same request id is applied once."""
    return moves.promote(control, model, version, order)
