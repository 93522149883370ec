"""The flow `promote`: the command of the same name for schedules and the Prefect UI."""

from prefect import flow

from flows.control import actor, control_with_registry, settle_first
from flows.home import home
from tasks.promote import promote as promote_version
from tasks.promotion.control import Order


@flow(name="promote", flow_run_name="promote {model} {version}", persist_result=False)
def promote(model: str, version: int, reason: str = "", force: bool = False) -> str:
    """Put a registered version in production.

    Args:
        model: registered name.
        version: a version that passed its gates.
        reason: why, for the journal.
        force: take a version that was rolled back; needs a reason.

    Returns:
        What is in production now, and what killed moves of other models were settled.
    """
    control = control_with_registry(home())
    message = promote_version(control, model, version, Order(actor=actor(), reason=reason, force=force)).message
    return " ".join([message, *settle_first(home(), control)])
