"""One move from intent to done, or back: the steps that a living process and `reconcile` share."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tasks.foundations.errors import SlipwayError
from tasks.journal.event import Event, Phase
from tasks.journal.fold import ModelState, fold, popped
from tasks.promotion.control import Control
from tasks.promotion.observation import observe, unheard
from tasks.promotion.publish import History, pointers
from tasks.serving.answers import Observation
from tasks.serving.together import OutOfPatience

MADE: tuple[Phase, ...] = ("moved", "observed", "done")
"""Phases in which the journal has a move in its production history."""
UNDOING_S = 5.0
"""How long an undoing waits for servers: their pointers are back already, and they look at them by themselves."""


@dataclass(frozen=True)
class Made:
    """How a move ended.

    Attributes:
        servers: the answers of all servers.
        warnings: what did not work although the move did.
    """

    servers: tuple[Observation, ...]
    warnings: tuple[str, ...]


def stack_after(stack: tuple[int, ...], move: Event) -> tuple[int, ...]:
    """The production history when the move is made."""
    return (move.version, *stack) if move.kind == "promote" else popped(stack, move.version)


def history_after(control: Control, state: ModelState, move: Event) -> History:
    """What serving is made from when the move is made."""
    last = state.attempts.get(move.attempt)
    stack = state.stack if last is not None and last.phase in MADE else stack_after(state.stack, move)
    return History(control, move.model, stack, {**state.digests, move.version: move.digest})


def note(control: Control, move: Event, phase: Phase, expected_serial: int) -> Event:
    """Write the next phase of a move, signed as `move` is."""
    return control.journal.append(move.model_copy(update={"phase": phase}), expected_serial)


def make(
    control: Control,
    history: History,
    intent: Event,
    reached: Phase,
    expected_serial: int,
    patience_s: float | None = None,
) -> Made:
    """Everything after `staged` or `validated`, or what is left of it: pointers, `moved`, servers, `observed`, `done`.

    Args:
        control: where production is controlled from.
        history: see `history_after`.
        intent: the move's first event; its serial marks the pointers, its actor and reason sign what follows.
        reached: the phase that the move is in.
        expected_serial: the journal's last serial.
        patience_s: see `observe`.

    Raises:
        SlipwayError, OSError: a pointer or `moved` could not be written, or a server does not serve the version; the
            move is to be undone.
        OutOfPatience: servers have not answered in time; the move is as far as `moved`.
    """
    warnings = history.switch(intent.serial)
    serial = expected_serial if reached == "moved" else note(control, intent, "moved", expected_serial).serial
    servers = observe(control, intent.model, history.digests, patience_s)
    warnings += unheard(control, intent.model)
    try:
        note(control, intent, "done", note(control, intent, "observed", serial).serial)
    except SlipwayError as error:
        warnings.append(f"The move is made but not closed in the journal; run `reconcile`. {error}")
    return Made(tuple(servers), tuple(warnings))


def undo(control: Control, intent: Event, reason: str) -> None:
    """Put everything back as it was before the move and close it as undone; one whose servers have answered stays made.

    Servers are told, but whether they answer is not waited for long: an undoing must end.

    Raises:
        SlipwayError: a pointer or the journal cannot be written, or a later move stands on this one.
    """
    events = control.journal.events(intent.model)
    state = fold(events)
    if state.attempts[intent.attempt].phase in ("observed", "done"):
        return
    undone = intent.model_copy(update={"phase": "undone", "serial": state.last_serial + 1, "reason": reason})
    before = fold([*events, undone])
    if touched(control, intent):
        History(control, intent.model, before.stack, before.digests).switch(undone.serial)
        with suppress(SlipwayError, OSError, OutOfPatience):
            observe(control, intent.model, before.digests, UNDOING_S)
    note(control, undone, "undone", state.last_serial)


def touched(control: Control, intent: Event) -> bool:
    """Whether the move, or its undoing, has already written a pointer."""
    return any(pointer.serial >= intent.serial for pointer in pointers(control, intent.model).values())


def intent_of(events: Sequence[Event], attempt: str) -> Event:
    """The event that (last) began an attempt."""
    return next(event for event in reversed(events) if event.attempt == attempt and event.phase == "intent")
