"""One move from intent to done, or back: the steps that a living process and `reconcile` share."""

from collections.abc import Sequence

from tasks.foundations.errors import SlipwayError
from tasks.journal.event import Event, Phase
from tasks.journal.fold import ModelState, fold, popped
from tasks.promotion.control import Control
from tasks.promotion.publish import History, pointers


def stack_after(stack: tuple[int, ...], move: Event) -> tuple[int, ...]:
    """The production history when the move is made."""
    return (move.version, *stack) if move.kind == "promote" else popped(stack, move.version)


def history_after(control: Control, state: ModelState, move: Event) -> History:
    """What serving is made from when the move is made."""
    return History(control, move.model, stack_after(state.stack, move), {**state.digests, move.version: move.digest})


def note(control: Control, move: Event, phase: Phase, expected_serial: int, **changes: str) -> Event:
    """Write the next phase of a move; `changes` are its actor and reason where they are not the mover's."""
    return control.journal.append(move.model_copy(update={"phase": phase, **changes}), expected_serial)


def make(control: Control, history: History, intent: Event, expected_serial: int, **changes: str) -> list[str]:
    """Everything after `staged`: pointers, `moved`, `done`.

    Args:
        control: where production is controlled from.
        history: see `history_after`.
        intent: the move's first event; its serial marks the pointers.
        expected_serial: the journal's last serial.
        changes: see `note`.

    Returns:
        Warnings.

    Raises:
        SlipwayError, OSError: a pointer or `moved` could not be written; the move is to be undone.
    """
    warnings = history.switch(intent.serial)
    moved = note(control, intent, "moved", expected_serial, **changes)
    try:
        note(control, intent, "done", moved.serial, **changes)
    except SlipwayError as error:
        warnings.append(f"The move is made but not closed in the journal; run `reconcile`. {error}")
    return warnings


def undo(control: Control, intent: Event, reason: str, **changes: str) -> None:
    """Put everything back as it was before the move and close it as undone; a move that is `moved` stays made.

    Raises:
        SlipwayError: a pointer or the journal cannot be written; `reconcile` will try again.
    """
    state = fold(control.journal.events(intent.model))
    if state.attempts[intent.attempt].phase in ("moved", "observed", "done"):
        return
    if touched(control, intent):
        History(control, intent.model, state.stack, state.digests).switch(state.last_serial + 1)
    note(control, intent, "undone", state.last_serial, reason=reason, **changes)


def touched(control: Control, intent: Event) -> bool:
    """Whether the move, or its undoing, has already written a pointer."""
    return any(pointer.serial >= intent.serial for pointer in pointers(control, intent.model).values())


def intent_of(events: Sequence[Event], attempt: str) -> Event:
    """The event that (last) began an attempt."""
    return next(event for event in reversed(events) if event.attempt == attempt and event.phase == "intent")
