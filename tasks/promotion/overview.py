"""What is in production of every model, a few facts each: thousands of versions are read in well under a second.

It proves no chain of the journal: `status MODEL` does, and so does every move.
"""

from tasks.foundations.record import Record
from tasks.journal.event import Event
from tasks.journal.fold import ModelState, fold
from tasks.promotion.control import Control
from tasks.promotion.known import has_files, strangers
from tasks.promotion.observation import unheard
from tasks.promotion.status import Asked, ServerStatus, interrupted, server_status, undone_challenger


class Overview(Record):
    """One model.

    Attributes:
        model: its name.
        champion: the version in production, None if there is none.
        previous: what a plain rollback goes to, None if there is nothing or its files were removed.
        challenger: the newest version that passed and waits, None if there is none.
        versions: how many there are.
        servers: every registered server of the model, as it answers now.
        warnings: as in `Status`, but for the chain of the journal.
        serial: the journal's last serial.
    """

    model: str
    champion: int | None
    previous: int | None
    challenger: int | None
    versions: int
    servers: tuple[ServerStatus, ...]
    warnings: tuple[str, ...]
    serial: int


def overviews(control: Control, asked: Asked) -> list[Overview]:
    """Every model that the journal knows, by name.

    Args:
        control: where production is controlled from.
        asked: what servers have answered.
    """
    open_ones = set(control.journal.unsettled())
    return [
        _overview(control, model, events, last, asked, model in open_ones)
        for model, (events, last) in control.journal.milestones().items()
    ]


def _overview(
    control: Control, model: str, milestones: list[Event], last_serial: int, asked: Asked, is_open: bool
) -> Overview:
    state = fold(milestones)
    events = control.journal.events(model) if is_open or _was_undone(milestones, state) else None
    if events is not None:
        state = fold(events)
    else:  # whose attempts have all ended, which their milestones do not show
        state = state.model_copy(update={"attempts": {}, "last_serial": last_serial})
    there = state.previous is not None and has_files(control, state.digests[state.previous])
    return Overview(
        model=model,
        champion=state.champion,
        previous=state.previous if there else None,
        challenger=state.challenger,
        versions=len(state.digests),
        servers=tuple(server_status(node, said, model) for node, said in asked if node.serves(model)),
        warnings=(
            *strangers(control, model, state),
            *interrupted(state),
            *undone_challenger(events or [], model, state.challenger),
            *unheard(control, model),
        ),
        serial=state.last_serial,
    )


def _was_undone(milestones: list[Event], state: ModelState) -> bool:
    """Whether a promotion of the challenger came to nothing: then the journal says why."""
    return any(event.phase == "undone" and event.version == state.challenger for event in milestones)
