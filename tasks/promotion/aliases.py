"""The registry's aliases, which follow the journal and never lead it."""

from tasks.journal.fold import ModelState
from tasks.promotion.control import Control


def align(control: Control, model: str, state: ModelState) -> list[str]:
    """Let `champion` and `challenger` point where the journal says.

    Returns:
        One sentence if the registry refused: production has moved whatever the registry does, so it is a warning.
    """
    if control.open_aliases is None:
        return []
    wanted = {"champion": state.champion, "challenger": state.challenger}
    try:
        aliases = control.open_aliases()
        for alias, version in wanted.items():
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
