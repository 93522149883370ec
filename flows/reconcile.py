"""The flow `reconcile`: the command of the same name for schedules and the Prefect UI."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.cause import parameters, run_name
from flows.control import control_with_registry, settle_first
from flows.forecast import forecast_repairs
from flows.forms import DryRun, readable
from flows.home import home
from flows.say import say
from tasks.foundations.errors import SlipwayError
from tasks.reconcile import reconcile as reconcile_models

Which = Annotated[str | None, Field(title="Model", description="Registered name. Empty: every model.")]
ALL = "all models"


def _name() -> str:
    return run_name(f"reconcile {parameters()['model'] or ALL}", "")


@readable
@flow(name="reconcile", flow_run_name=_name, persist_result=False)
def reconcile(model: Which = None, dry_run: DryRun = False) -> str:
    """Finish or undo what killed processes left, of one model or of all; mend copies, pointers, servers and aliases.

    Returns:
        What was done, one sentence a line.

    Raises:
        SlipwayError: something could not be brought in order; the rest was.
    """
    if dry_run:
        return say(model or ALL, "dry-run", forecast_repairs(model)["text"].splitlines())
    control = control_with_registry(home())
    repairs = reconcile_models(control, model)
    settled = settle_first(home(), control) if model else []  # of the other models
    done = settled + [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.done]
    failed = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.failed]
    said = say(model or ALL, "reconcile", [*done, *failed] or ["everything is as the journal says"])
    if failed:
        raise SlipwayError(" ".join(failed))
    return said
