"""The flow `rollback`: the command of the same name for schedules and the Prefect UI."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.cause import parameters, run_actor, run_id, run_name
from flows.control import control_with_registry, settle_first
from flows.forecast import forecast_way_back
from flows.forms import DryRun, Model, Reason, readable
from flows.home import home
from flows.messages import moved_message
from flows.notify import send
from flows.say import refusals_told, say
from tasks.promotion.control import Order
from tasks.rollback import rollback as roll_back

To = Annotated[int | None, Field(title="To", ge=1, description="Version to return to. Empty: the one before.")]


def _name() -> str:
    given = parameters()
    to = f" to {given['to']}" if given["to"] is not None else ""
    return run_name(f"rollback {given['model']}{to}", given["reason"])


@readable
@flow(name="rollback", flow_run_name=_name, persist_result=False)
def rollback(model: Model, to: To = None, reason: Reason = "", dry_run: DryRun = False) -> str:
    """Put the version before, or an earlier one of the production history, back in production.

    Returns:
        What is in production now, and what killed moves of other models were settled.
    """
    if dry_run:
        return say(model, "dry-run", forecast_way_back(model, to)["text"].splitlines())
    control = control_with_registry(home())
    order = Order(actor=run_actor(), reason=reason, run=run_id())
    with refusals_told(model, order):
        move = roll_back(control, model, order, to)
    unsent = send(moved_message(move, order))
    return say(model, "move", [move.message, *move.warnings, *unsent, *settle_first(home(), control)])
