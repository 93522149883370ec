"""The flow `rollback`: the command of the same name for schedules and the Prefect UI."""

from prefect import flow

from flows.control import actor, control_with_registry, settle_first
from flows.home import home
from tasks.promotion.control import Order
from tasks.rollback import rollback as roll_back


@flow(name="rollback", flow_run_name="rollback {model}", persist_result=False)
def rollback(model: str, to: int | None = None, reason: str = "") -> str:
    """Put the version before, or an earlier one of the production history, back in production.

    Args:
        model: registered name.
        to: the version to return to; the one before if left out.
        reason: why, for the journal.

    Returns:
        What is in production now, and what killed moves of other models were settled.
    """
    control = control_with_registry(home())
    message = roll_back(control, model, Order(actor=actor(), reason=reason), to).message
    return " ".join([message, *settle_first(home(), control)])
