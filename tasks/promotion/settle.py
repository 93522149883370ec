"""Closing what a killed process left open. Whoever holds the model's lock knows that no open attempt is alive."""

from tasks.foundations.errors import SlipwayError
from tasks.journal.event import Event
from tasks.journal.fold import ModelState, fold
from tasks.promotion.attempt import history_after, intent_of, make, note, undo
from tasks.promotion.control import Control
from tasks.promotion.publish import sweep

ACTOR = "reconcile"


def settle(control: Control, model: str) -> list[str]:
    """Finish or undo every open attempt and remove half-written files.

    `intent` is undone: its copies are not complete, and no pointer has moved. From `staged` on everything that is
    needed stands on disk: the move is finished, or undone if it cannot be (its undoing had begun, so that pointers are
    newer than the move; a disk is full). `moved` only lacks its last event.

    Returns:
        What was done, one sentence each.

    Raises:
        DigestMismatch: the journal was changed by hand.
        SlipwayError: an attempt can be neither finished nor undone.
    """
    events = control.journal.verify(model)
    done = []
    for last in fold(events).open_attempts:
        intent = intent_of(events, last.attempt)
        done.append(_close(control, intent, last, fold(control.journal.events(model))))
    return done + sweep(control, model)


def _close(control: Control, intent: Event, last: Event, state: ModelState) -> str:
    what = f"the {intent.kind} of {intent.model} {intent.version} that {intent.actor} began at {intent.at}"
    stopped = f"it had stopped after `{last.phase}`"
    if last.phase in ("moved", "observed"):
        note(control, intent, "done", state.last_serial, actor=ACTOR, reason=f"finished: {stopped}")
        return f"finished {what}: {stopped}"
    overtaken = state.moved is not None and state.moved.serial > intent.serial
    why = f"undone: {stopped}"
    if last.phase != "intent" and not overtaken:
        try:
            reason = f"finished: {stopped}"
            warnings = make(
                control, history_after(control, state, intent), intent, state.last_serial, actor=ACTOR, reason=reason
            )
            return " ".join([f"finished {what}: {stopped}", *warnings])
        except (SlipwayError, OSError) as error:
            why = f"undone: {stopped} and could not be finished: {error}"
    undo(control, intent, why, actor=ACTOR)
    return f"undid {what}: {why.removeprefix('undone: ')}"
