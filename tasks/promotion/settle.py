"""Closing what a killed process left open. Whoever holds the model's lock knows that no open attempt is alive."""

from collections.abc import Sequence
from contextlib import suppress

from tasks.foundations.errors import Conflict, SlipwayError
from tasks.journal.event import Event
from tasks.journal.fold import ModelState, fold
from tasks.promotion.aliases import align
from tasks.promotion.attempt import history_after, intent_of, make, note, undo
from tasks.promotion.control import Control
from tasks.promotion.publish import sweep
from tasks.serving.together import OutOfPatience

ACTOR = "reconcile"


def settle(
    control: Control, model: str, patience_s: float | None = None, events: Sequence[Event] | None = None
) -> list[str]:
    """Finish or undo every open attempt and remove half-written files.

    An `intent`, and a promotion that is only `staged`, are undone: nothing has shown that the version can serve. A
    promotion that is `validated` and a rollback that is `staged` are finished, and what is `moved` is observed again;
    each of them is undone if it cannot be finished (a server does not follow, its undoing had begun so that pointers
    are newer than the move, a disk is full). `observed` only lacks its last event.

    A server that hangs holds this up for the limit that its kind allows, once: then the attempt is undone and closed.

    Args:
        control: where production is controlled from.
        model: name of the model.
        patience_s: how long to wait for servers at most; None for as long as each kind allows them.
        events: of the model's journal, where they were verified already.

    Returns:
        What was done, one sentence each.

    Raises:
        DigestMismatch: the journal was changed by hand.
        SlipwayError: an attempt can be neither finished nor undone.
        OutOfPatience: servers have not answered within `patience_s`; the attempt is still open.
    """
    events = control.journal.verify(model) if events is None else events
    done = []
    for last in fold(events).open_attempts:
        intent = intent_of(events, last.attempt)
        state = fold(control.journal.events(model))
        done.append(_close(control, intent, last, state, patience_s))
    return done + sweep(control, model)


def settle_all(control: Control, patience_s: float | None = None) -> dict[str, list[str]]:
    """Settle every model that has an open attempt and that nobody is moving: one query where there is none.

    For the start of every command: it says what it has done, and lets nothing that it cannot do stop the command.

    Args:
        control: where production is controlled from.
        patience_s: see `settle`; what needs longer stays open.

    Returns:
        Model -> what was done, or could not be, one sentence each. Empty if there was nothing to do.
    """
    found: dict[str, list[str]] = {}
    try:
        models = control.journal.unsettled()
    except SlipwayError:  # the command itself will meet the journal, and say so
        return found
    for model in models:
        with suppress(Conflict, OutOfPatience):  # a living process is at it, or a server is slow: not ours to wait for
            found[model] = _try(control, model, patience_s)
    return found


def _try(control: Control, model: str, patience_s: float | None) -> list[str]:
    try:
        with control.exclusive(model, ACTOR):
            done = settle(control, model, patience_s)
    except Conflict:
        raise
    except (SlipwayError, OSError) as error:
        return [f"what a killed process left could not be settled: {error}"]
    return done + (align(control, model) if done else [])


def _close(control: Control, intent: Event, last: Event, state: ModelState, patience_s: float | None) -> str:
    what = f"the {intent.kind} of {intent.model} {intent.version} that {intent.actor} began at {intent.at}"
    stopped = f"it had stopped after `{last.phase}`"
    ours = intent.model_copy(update={"actor": ACTOR, "reason": f"finished: {stopped}"})
    overtaken = state.moved is not None and state.moved.serial > intent.serial and state.moved.attempt != last.attempt
    if last.phase == "observed" or (last.phase == "moved" and overtaken):
        note(control, ours, "done", state.last_serial)
        return f"finished {what}: {stopped}"
    why = stopped
    if can_be_finished(last) and not overtaken:
        try:
            history = history_after(control, state, intent)
            made = make(control, history, ours, last.phase, state.last_serial, patience_s)
            return " ".join([f"finished {what}: {stopped}", *made.warnings])
        except (SlipwayError, OSError) as error:
            why = f"{stopped} and could not be finished: {error}"
    undo(control, ours, f"undone: {why}")
    return f"undid {what}: {why}"


def can_be_finished(last: Event) -> bool:
    """Whether settling goes forward from there: what is gone back to was validated when it was promoted."""
    return last.phase in ("validated", "moved") or (last.kind, last.phase) == ("rollback", "staged")
