"""Bring servers and registry in line with the journal: after a kill, after a hand in the wrong place, on a schedule."""

from tasks.foundations.errors import SlipwayError
from tasks.foundations.record import Record
from tasks.journal.fold import fold
from tasks.promotion.aliases import align
from tasks.promotion.control import Control
from tasks.promotion.known import check_model, check_servers, strangers
from tasks.promotion.observation import complaints
from tasks.promotion.publish import History, pointers, prune, served
from tasks.promotion.settle import settle


class Repairs(Record):
    """What a reconciliation did.

    Attributes:
        done: one sentence each; empty if everything was in order.
        failed: what could not be brought in order, one sentence each.
    """

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def reconcile(control: Control, model: str) -> Repairs:
    """Finish or undo what a killed process left, remove its leftovers, mend staged copies, pointers and aliases.

    Every server is told, and named among what failed if it does not serve what its pointer says.

    Raises:
        InputError: no such model.
        Conflict: a living process is moving the model.
        DigestMismatch: the journal was changed by hand, or is not that of what is served.
        SlipwayError, OSError: a pointer, or the champion's bundle, cannot be read or written.
    """
    check_model(control, model)
    with control.exclusive(model, "reconcile"):
        done = settle(control, model)
        state = fold(control.journal.events(model))
        check_servers(control, model, state)
        before = pointers(control, model)
        history = History(control, model, state.stack, state.digests)
        if state.moved is not None:
            history.switch(state.last_serial)
        after = pointers(control, model)
        changed = sorted(kind for kind in before | after if before.get(kind) != after.get(kind))
        done += history.copied
        done += [f"{kind}: pointed to {_named(after.get(kind))} again" for kind in changed]
        silent = complaints(control, model, state.digests)
    return Repairs(done=tuple(done), failed=(*silent, *align(control, model)))


def reconcile_all(control: Control) -> dict[str, Repairs]:
    """Reconcile every model that the journal knows; one that cannot be reconciled does not keep the others from it.

    Returns:
        Model -> what was done; also for a model that is served and that the journal does not know.
    """
    known = control.journal.models()
    unknown = {name: strangers(control, name) for name in served(control) if name not in known}
    return {name: _try(control, name) for name in known} | {
        name: Repairs(failed=tuple(sentences)) for name, sentences in unknown.items()
    }


def _try(control: Control, model: str) -> Repairs:
    try:
        return reconcile(control, model)
    except (SlipwayError, OSError) as error:
        return Repairs(failed=(str(error),))


def retain(control: Control, model: str, keep: int, dry_run: bool = False) -> list[str]:
    """Remove old staged versions; the newest `keep` and the uppermost `keep` of the history stay, always the first two.

    Returns:
        What was removed, or would be, as `<kind>/<model>/<version>`.

    Raises:
        InputError: no such model.
        Conflict: a living process is moving the model.
    """
    check_model(control, model)
    with control.exclusive(model, "retention"):
        if not dry_run:
            settle(control, model)
        state = fold(control.journal.events(model))
        newest = sorted(state.versions)[-keep:] if keep > 0 else []
        return prune(control, model, [*newest, *state.stack[: max(2, keep)]], dry_run)


def _named(pointer: object) -> str:
    return f"version {getattr(pointer, 'version', None)}" if pointer is not None else "nothing"
