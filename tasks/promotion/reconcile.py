"""Bring servers and registry in line with the journal: after a kill, after a hand in the wrong place, on a schedule."""

from tasks.journal.fold import fold
from tasks.promotion.aliases import align
from tasks.promotion.control import Control
from tasks.promotion.known import check_model
from tasks.promotion.publish import History, pointers, prune
from tasks.promotion.settle import settle


def reconcile(control: Control, model: str) -> list[str]:
    """Finish or undo what a killed process left, remove its leftovers, mend pointers and aliases.

    Returns:
        What was done, one sentence each; empty if everything was in order.

    Raises:
        InputError: no such model.
        Conflict: a living process is moving the model.
        DigestMismatch: the journal was changed by hand.
        SlipwayError: a pointer, or the champion's bundle, cannot be read or written.
    """
    check_model(control.journal, model)
    with control.exclusive(model, "reconcile"):
        done = settle(control, model)
        state = fold(control.journal.events(model))
        before = pointers(control, model)
        if state.moved is not None:
            History(control, model, state.stack, state.digests).switch(state.last_serial)
        after = pointers(control, model)
        changed = sorted(kind for kind in before | after if before.get(kind) != after.get(kind))
        done += [f"{kind}: pointed to {_named(after.get(kind))} again" for kind in changed]
        return done + align(control, model, state)


def retain(control: Control, model: str, keep: int) -> list[str]:
    """Remove old staged versions; the newest `keep`, the champion and what a rollback goes to stay.

    Returns:
        What was removed, as `<kind>/<model>/<version>`.

    Raises:
        InputError: no such model.
        Conflict: a living process is moving the model.
    """
    check_model(control.journal, model)
    with control.exclusive(model, "retention"):
        settle(control, model)
        state = fold(control.journal.events(model))
        newest = sorted(state.versions)[-keep:] if keep > 0 else []
        return prune(control, model, [*newest, *state.stack[:2]])


def _named(pointer: object) -> str:
    return f"version {getattr(pointer, 'version', None)}" if pointer is not None else "nothing"
