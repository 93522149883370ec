"""The flow `reconcile`: the command of the same name for schedules and the Prefect UI."""

from prefect import flow

from flows.control import control_with_registry, settle_first
from flows.home import home
from tasks.foundations.errors import SlipwayError
from tasks.reconcile import reconcile as reconcile_models


@flow(name="reconcile", persist_result=False)
def reconcile(model: str | None = None) -> list[str]:
    """Finish or undo what killed processes left, of one model or of all.

    Args:
        model: registered name; every model if left out.

    Returns:
        What was done, one sentence each; empty if everything was in order.

    Raises:
        SlipwayError: something could not be brought in order; the rest was.
    """
    control = control_with_registry(home())
    repairs = reconcile_models(control, model)
    settled = settle_first(home(), control) if model else []  # of the other models
    failed = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.failed]
    if failed:
        raise SlipwayError(" ".join(failed))
    return settled + [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.done]
