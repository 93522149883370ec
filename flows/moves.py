"""`promote`, `rollback`, `reconcile` on the command line: straight to the journal and the servers.

No Prefect (its start takes 8 to 14 s) and no MLflow before the servers have switched: its aliases follow in a process
of their own.
"""

from typing import Any

from flows.control import actor, control_with_registry, follow_later, open_control
from flows.home import Home, home
from tasks.promotion import moves, reconcile
from tasks.promotion.control import Control, Move, Order
from tasks.store.store import Store


def promote_version(model: str, version: int, *, reason: str, force: bool) -> dict[str, Any]:
    """Put a version in production.

    Raises:
        InputError: no such model or version.
        Refused: the version needs `force` and a reason.
    """
    place = home()
    move = moves.promote(_quick(place), model, version, Order(actor=actor(), reason=reason, force=force))
    return _answer(place, move)


def roll_back(model: str, *, to: int | None, reason: str) -> dict[str, Any]:
    """Put the version before, or `to`, back in production.

    Raises:
        InputError: no such model or version.
        Refused: there is nothing to go back to.
    """
    place = home()
    move = moves.rollback(_quick(place), model, Order(actor=actor(), reason=reason), to)
    return _answer(place, move)


def reconcile_models(model: str | None) -> dict[str, Any]:
    """Finish or undo what killed processes left, of one model or of all, and repair MLflow's aliases."""
    control = control_with_registry(home())
    repairs = {model: reconcile.reconcile(control, model)} if model else reconcile.reconcile_all(control)
    done = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.done]
    failed = [f"{name}: {sentence}" for name, each in repairs.items() for sentence in each.failed]
    answer: dict[str, Any] = {
        "models": {name: list(each.done) for name, each in repairs.items()},
        "exit_code": 1 if failed else 0,
        "text": "\n".join(done) or ("" if failed else "everything is as the journal says"),
    }
    return answer | ({"error": "\n".join(failed)} if failed else {})


def _quick(place: Home) -> Control:
    return open_control(place, Store(str(place.store), place.store))


def _answer(place: Home, move: Move) -> dict[str, Any]:
    follow_later(place, move.model)  # also where nothing was moved: it may have finished what a killed command left
    lines = [move.message, *(f"warning: {warning}" for warning in move.warnings)]
    return {**move.model_dump(mode="json"), "exit_code": 0, "text": "\n".join(lines)}
