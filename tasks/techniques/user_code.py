"""The user's own code that a technique trains with: what it is known by, and whether another machine has the same."""

from pathlib import Path
from typing import Any

from tasks.foundations.checkout import in_checkout
from tasks.foundations.errors import InputError
from tasks.training.fit import FitSettings


def user_sources(technique: Any, fit: FitSettings | None) -> str:
    """Digest of the user's loss and of the user's student, where there are such."""
    if fit is None:
        return ""
    student = technique.source_digest(Path(fit.folder)) if technique.place == "distillation" else ""
    return fit.training.source_digest(Path(fit.folder)) + student


def settled(technique: Any, fit: FitSettings, folder: str, expected: str) -> FitSettings:
    """The settings of a fit on the machine that does it.

    Args:
        technique: that trains.
        fit: as the release has it.
        folder: of the config, as `from_checkout` tells it.
        expected: digest of the user's code where the release runs.

    Raises:
        InputError: the user's code is not here, or is not the same.
    """
    here = fit.model_copy(update={"folder": str(in_checkout(folder))})
    try:
        found = user_sources(technique, here)
    except InputError as error:
        raise InputError(f"{error} Every machine that trains needs the release's checkout and its files.") from error
    if found != expected:
        raise InputError(
            f"{technique.kind}: the code in {here.folder} is not the release's. Give every machine that trains the "
            "same checkout."
        )
    return here
