"""What is in production of every model, a few facts each: thousands of versions are read in well under a second.

It proves no chain of the journal: `status MODEL` does, and so does every move.
"""

from tasks.foundations.record import Record
from tasks.journal.event import Milestone, Outline
from tasks.journal.fold import Standing, fold, standing
from tasks.promotion.control import Control
from tasks.promotion.known import has_files, strangers
from tasks.promotion.observation import unheard
from tasks.promotion.publish import pointers
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
    return [_overview(control, model, outline, asked) for model, outline in control.journal.outlines().items()]


def _overview(control: Control, model: str, outline: Outline, asked: Asked) -> Overview:
    state = standing(outline.milestones)
    if not outline.is_settled or _was_undone(outline.milestones, state):
        return _whole(control, model, outline, asked)
    return _shown(control, model, outline, state, asked)


def _was_undone(milestones: list[Milestone], state: Standing) -> bool:
    """Whether a promotion of the challenger came to nothing: then the journal says why."""
    return any(each.phase == "undone" and each.version == state.challenger for each in milestones)


def _whole(control: Control, model: str, outline: Outline, asked: Asked) -> Overview:
    """Of a model with something to tell, from all of its events."""
    events = control.journal.events(model)
    state = fold(events)
    found = _shown(control, model, outline._replace(last_serial=state.last_serial), state, asked)
    told = (*interrupted(state), *undone_challenger(events, model, state.challenger))
    return found.model_copy(update={"warnings": (*told, *found.warnings)})


def _shown(control: Control, model: str, outline: Outline, state: Standing, asked: Asked) -> Overview:
    there = state.previous is not None and has_files(control, state.digests[state.previous])
    is_newer = any(pointer.serial > outline.last_serial for pointer in pointers(control, model).values())
    return Overview(
        model=model,
        champion=state.champion,
        previous=state.previous if there else None,
        challenger=state.challenger,
        versions=outline.versions,
        servers=tuple(server_status(node, said, model) for node, said in asked if node.serves(model)),
        # Somebody may be moving the model at this moment: what is newer than the journal was is looked at once more.
        warnings=(*(strangers(control, model) if is_newer else ()), *unheard(control, model)),
        serial=outline.last_serial,
    )
