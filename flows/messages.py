"""What notifications say: one event, a title and a few sentences each."""

from flows.notify import Event
from tasks.foundations.errors import Inconclusive, Refused
from tasks.promotion.control import Move, Order

Message = tuple[Event, str, str]


def moved_message(move: Move, order: Order) -> Message | tuple[()]:
    """Of a promotion or rollback; nothing where nothing was moved."""
    if not move.moved:
        return ()
    event: Event = "promoted" if move.kind == "promote" else "rolled_back"
    word = "in production" if event == "promoted" else "rolled back"
    title = f"{move.model} {move.version if event == 'promoted' else move.from_version} {word}"
    return event, title, "\n".join([move.message, _by(order), *move.warnings])


def refused_message(model: str, order: Order, refusal: Refused) -> Message:
    """Of a move that production's rules, or the trial of the version, have refused."""
    return "refused", f"{model}: refused", f"{str(refusal).splitlines()[0]}\n{_by(order)}"


def release_message(model: str, decision: str, exit_code: int, moved: bool, report: str) -> Message | tuple[()]:
    """Of a release; nothing of one that failed, or that changed nothing."""
    events: dict[int, Event] = {Refused.exit_code: "refused", Inconclusive.exit_code: "inconclusive"}
    event: Event | None = "promoted" if moved else events.get(exit_code)
    return (event, f"{model}: {event}", f"{decision}\nreport {report}") if event else ()


def _by(order: Order) -> str:
    return f"by {order.actor}{f': {order.reason}' if order.reason else ''}"
