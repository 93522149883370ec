"""What production's rules say of a move before anything is touched: pure, for moves and for their forecasts."""

from tasks.foundations.errors import Conflict, Refused
from tasks.journal.fold import ModelState
from tasks.promotion.control import Order
from tasks.promotion.known import check_version


def check_expected(state: ModelState, order: Order, model: str) -> None:
    """Raise if production has moved since the order was decided.

    Raises:
        Conflict: it has; the message names the move.
    """
    moved = state.moved
    if order.expected_serial is not None and moved is not None and moved.serial > order.expected_serial:
        raise Conflict(
            f"Production of {model} has changed since this was decided: {moved.kind} of version {moved.version} by "
            f"{moved.actor} at {moved.at}; version {state.champion} is in production. Decide anew against it."
        )


def check_promotable(state: ModelState, order: Order, model: str, version: int) -> None:
    """Raise if a version must not come (back) without force.

    Raises:
        Refused: it was rolled back, or has no passing record, and the order does not force it with a reason.
    """
    why = ""
    if version in state.rolled_back:
        why = "was taken out of production by a rollback"
    elif version not in state.registered:
        why = "has no record of having passed its gates"
    if why and not (order.force and order.reason.strip()):
        raise Refused(f"{model} {version} {why}. It comes back only with --force and --reason.")


def version_to_go_back_to(state: ModelState, model: str, to: int | None) -> int:
    """The version before the champion, or `to` if it lies below it in the production history.

    Raises:
        InputError: no such version.
        Refused: there is nothing to go back to, or `to` is not in the history.
    """
    if to is not None:
        check_version(state, model, to)
    if state.champion is None:
        raise Refused(f"Nothing of {model} is in production, so nothing can be rolled back. Use `promote`.")
    if state.previous is None:
        raise Refused(
            f"{model} {state.champion} has no version before it in production, so it cannot be rolled back. "
            "Promote another version instead."
        )
    if to is None:
        return state.previous
    if to not in state.stack[1:]:
        history = ", ".join(str(version) for version in state.stack[1:])
        raise Refused(f"{model} {to} is not below the champion in the production history ({history}). Use `promote`.")
    return to
