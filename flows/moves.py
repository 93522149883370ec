"""`promote`, `rollback`, `reconcile` on the command line: straight to the journal and the servers.

No Prefect (its start takes 8 to 14 s) and no MLflow before the servers have switched: its aliases follow in a process
of their own.
"""

from collections.abc import Callable
from typing import Any

from flows.actor import actor
from flows.control import control_with_registry, follow_later, open_control, settle_first
from flows.forecast import forecast_move, forecast_repairs, forecast_way_back
from flows.home import home
from flows.messages import moved_message, refused_message
from flows.storage import open_store
from tasks.foundations.errors import NotServing, Refused
from tasks.promotion import moves, reconcile
from tasks.promotion.control import Control, Move, Order

PATIENCE_S = 2.0
"""How long a move waits for the servers of other models, whose killed moves it finds."""


def promote_version(model: str, version: int, *, reason: str, force: bool, dry_run: bool) -> dict[str, Any]:
    """Put a version in production, or only say what that would do.

    Raises:
        InputError: no such model or version.
        Refused: the version needs `force` and a reason, or failed its trial.
        NotServing: a server did not follow; everything is as before.
    """
    if dry_run:
        return forecast_move(model, version, reason=reason, force=force)
    order = Order(actor=actor(), reason=reason, force=force)
    return _carried_out(model, order, lambda control: moves.promote(control, model, version, order))


def roll_back(model: str, *, to: int | None, reason: str, dry_run: bool) -> dict[str, Any]:
    """Put the version before, or `to`, back in production, or only say what that would do.

    Raises:
        InputError: no such model or version.
        Refused: there is nothing to go back to.
        NotServing: a server did not follow; everything is as before.
    """
    if dry_run:
        return forecast_way_back(model, to)
    order = Order(actor=actor(), reason=reason)
    return _carried_out(model, order, lambda control: moves.rollback(control, model, order, to))


def reconcile_models(model: str | None, *, dry_run: bool) -> dict[str, Any]:
    """Finish or undo what killed processes left, of one model or of all; mend copies, pointers, servers and aliases."""
    if dry_run:
        return forecast_repairs(model)
    control = control_with_registry(home())
    repairs = {model: reconcile.reconcile(control, model)} if model else reconcile.reconcile_all(control)
    notes = settle_first(home(), control, PATIENCE_S) if model else []  # of the other models
    done = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.done]
    failed = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.failed]
    answer: dict[str, Any] = {
        "models": {name: list(each.done) for name, each in repairs.items()},
        "exit_code": 1 if failed else 0,
        "notes": notes,
        "text": "\n".join([*_noted(notes), *done]) or ("" if failed else "everything is as the journal says"),
    }
    return answer | ({"error": "\n".join(failed)} if failed else {})


def _carried_out(model: str, order: Order, move: Callable[[Control], Move]) -> dict[str, Any]:
    """Make a move, and only then settle what was left of other models: a rollback is in a hurry."""
    place = home()
    control = open_control(place, open_store(place))
    try:
        made = move(control)
    except NotServing:
        follow_later(place, model)  # the version is a challenger no more
        raise
    except Refused as refusal:
        follow_later(place, model, *refused_message(model, order, refusal))
        raise
    # Also where nothing was moved: it may have finished what a killed command left.
    follow_later(place, model, *moved_message(made, order))
    notes = settle_first(place, control, PATIENCE_S)
    lines = [made.message, *(f"warning: {warning}" for warning in made.warnings), *_noted(notes)]
    return {**made.model_dump(mode="json"), "notes": notes, "exit_code": 0, "text": "\n".join(lines)}


def _noted(notes: list[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
