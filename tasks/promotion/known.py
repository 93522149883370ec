"""Which models and versions the journal knows, and the sentence for one that it does not."""

from tasks.foundations.errors import InputError
from tasks.foundations.words import suggest
from tasks.journal.fold import ModelState
from tasks.journal.journal import Journal


def check_model(journal: Journal, model: str) -> None:
    """Raise unless the journal knows the model.

    Raises:
        InputError: it does not; the message lists those it knows, the nearest first.
    """
    known = journal.models()
    if model in known:
        return
    if not known:
        raise InputError(f"There is no model {model!r}: nothing has been registered yet. Run `release` first.")
    raise InputError(f"There is no model {model!r}. Known: {', '.join(known)}.{suggest(model, known)}")


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
