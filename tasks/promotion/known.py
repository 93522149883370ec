"""Which models and versions the journal knows, and the sentence for one that it does not."""

from tasks.foundations.errors import DigestMismatch, InputError, Refused, SlipwayError
from tasks.foundations.words import suggest
from tasks.journal.fold import ModelState, fold
from tasks.promotion.control import Control
from tasks.promotion.publish import pointers
from tasks.serving.staging import SAFE_NAME


def check_model(control: Control, model: str) -> None:
    """Raise unless the journal knows the model.

    Raises:
        DigestMismatch: it does not, and servers follow the model: its journal was lost. Whoever began a new one with a
            release would lose the way back.
        InputError: it does not; the message lists those it knows, the nearest first.
    """
    known = control.journal.models()
    if model in known:
        return
    if SAFE_NAME.fullmatch(model):
        check_servers(control, model)
    if not known:
        raise InputError(f"There is no model {model!r}: nothing has been registered yet. Run `release` first.")
    raise InputError(f"There is no model {model!r}. Known: {', '.join(known)}.{suggest(model, known)}")


def has_files(control: Control, digest: str) -> bool:
    """Whether the bundle with this digest is still there; `clean` removes those of old versions."""
    try:
        return control.bundle_path(digest).is_dir()
    except SlipwayError:
        return False


def check_files(control: Control, model: str, state: ModelState, version: int, digest: str) -> None:
    """Raise unless the version's files are still there.

    Raises:
        Refused: they are not; the message lists the versions that have theirs.
    """
    if not has_files(control, digest):
        there = [str(each) for each in state.versions if has_files(control, state.digests[each])]
        raise Refused(
            f"The files of {model} {version} are not there any more: `clean` or somebody else removed them. Versions "
            f"that have theirs: {', '.join(there) or 'none'}. Take one of them, or release that model again."
        )


def strangers(control: Control, model: str, state: ModelState | None = None) -> list[str]:
    """A sentence for every server that follows a move which the journal does not have.

    Args:
        control: where production is controlled from.
        model: name of the model.
        state: of its journal, for whoever holds the model's lock; else it is read here.
    """
    served = pointers(control, model)  # before the journal, which has every move that is made meanwhile
    state = state or fold(control.journal.events(model))
    last = state.last_serial + bool(state.open_attempts)  # an undoing points first and is written down then
    return [
        f"{kind} serves version {pointer.version} of {model} after move {pointer.serial}, but the journal "
        f"{control.journal.name} ends at {state.last_serial}: it was lost or reset, or is another one. Restore it, or "
        f"correct SLIPWAY_JOURNAL_URL; to begin a new history, move {control.serving_root / kind / model} away."
        for kind, pointer in served.items()
        if pointer.serial > last
    ]


def check_servers(control: Control, model: str, state: ModelState | None = None) -> None:
    """Raise if the journal is not that of what is served.

    Raises:
        DigestMismatch: it is not; the message says what to do.
    """
    for sentence in strangers(control, model, state):
        raise DigestMismatch(f"{sentence} Nothing was changed.")


def check_version(state: ModelState, model: str, version: int) -> None:
    """Raise unless the journal knows the version.

    Raises:
        InputError: it does not; the message lists those it knows and the nearest.
    """
    if version in state.versions:
        return
    known = ", ".join(str(each) for each in state.versions)
    near = min(state.versions, key=lambda each: (abs(each - version), each))
    raise InputError(f"{model} has no version {version}. Known: {known}. Did you mean {near}?")
