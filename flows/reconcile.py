"""The flow `reconcile`: the command of the same name for schedules and the Prefect UI."""

from prefect import flow

from flows.control import control_with_registry
from flows.home import home
from tasks.reconcile import reconcile as reconcile_model


@flow(name="reconcile", persist_result=False)
def reconcile(model: str | None = None) -> list[str]:
    """Finish or undo what killed processes left, of one model or of all.

    Args:
        model: registered name; every model if left out.

    Returns:
        What was done, one sentence each; empty if everything was in order.
    """
    control = control_with_registry(home())
    names = [model] if model else control.journal.models()
    return [f"{name}: {sentence}" for name in names for sentence in reconcile_model(control, name)]
