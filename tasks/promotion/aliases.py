"""The registry's aliases, which follow the journal and never lead it."""

from tasks.journal.fold import fold
from tasks.promotion.control import Control


def align(control: Control, model: str) -> list[str]:
    """Let `champion` and `challenger` point where the journal says. For whoever does not hold the model's lock.

    A registry that hangs must not keep anybody from moving the model. So the journal is read once more after the
    aliases were set, until nothing has changed meanwhile: of several that do so at once, the last sets what holds.

    Returns:
        One sentence if the registry refused: production has moved whatever the registry does, so it is a warning.
    """
    if control.open_aliases is None:
        return []
    written = None
    try:
        while (state := fold(control.journal.events(model))).last_serial != written:
            written = state.last_serial
            aliases = control.open_aliases()
            for alias, version in {"champion": state.champion, "challenger": state.challenger}.items():
                if version is None:
                    aliases.delete_alias(model, alias)
                else:
                    aliases.set_alias(model, alias, version)
    except Exception as error:  # noqa: BLE001 - whatever a registry raises, the move itself is made
        return [
            f"The servers are as the journal says, but the registry's aliases of {model} could not be set "
            f"({type(error).__name__}: {error}). `reconcile` repairs them once that is mended."
        ]
    return []
