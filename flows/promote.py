"""The flow `promote`: the command of the same name for schedules and the Prefect UI."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.cause import parameters, run_actor, run_id, run_name
from flows.control import control_with_registry, settle_first
from flows.forecast import forecast_move
from flows.forms import DryRun, Model, Reason, Version, readable
from flows.home import home
from flows.messages import moved_message
from flows.notify import send
from flows.say import refusals_told, say
from tasks.promote import promote as promote_version
from tasks.promotion.control import Order

Force = Annotated[
    bool, Field(title="Force", description="Take a version that was rolled back; needs a reason, the journal has both.")
]


def _name() -> str:
    given = parameters()
    return run_name(f"promote {given['model']} {given['version']}", given["reason"])


@readable
@flow(name="promote", flow_run_name=_name, persist_result=False)
def promote(model: Model, version: Version, reason: Reason = "", force: Force = False, dry_run: DryRun = False) -> str:
    """Put a registered version in production.

    Returns:
        What is in production now, and what killed moves of other models were settled.
    """
    if dry_run:
        return say(model, "dry-run", forecast_move(model, version, reason=reason, force=force)["text"].splitlines())
    control = control_with_registry(home())
    order = Order(actor=run_actor(), reason=reason, force=force, run=run_id())
    with refusals_told(model, order):
        move = promote_version(control, model, version, order)
    unsent = send(moved_message(move, order))
    return say(model, "move", [move.message, *move.warnings, *unsent, *settle_first(home(), control)])
