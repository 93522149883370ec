"""What is in production when a release decides: the version that gates may name, and its bundle."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flows.config import Config
from flows.desk import Desk
from tasks.bundle.manifest import Manifest
from tasks.bundle.verify import verify
from tasks.evaluation.assess import CHAMPION
from tasks.foundations.errors import DigestMismatch
from tasks.journal.fold import fold
from tasks.promotion.known import check_servers


@dataclass(frozen=True)
class Champion:
    """What is in production at this moment.

    Attributes:
        version: its number, None if nothing is in production.
        serial: the journal's last serial, to notice that somebody else moved.
        folder: of its bundle, None if it is not to be had.
        manifest: of its bundle.
        failure: why the bundle is not to be had.
    """

    version: int | None
    serial: int
    folder: Path | None = None
    manifest: Manifest | None = None
    failure: str | None = None


def names_champion(config: Config) -> bool:
    """Whether a gate compares with the champion."""
    return any(each.against == CHAMPION for each in config.gates)


def is_named(config: Config, place: str) -> bool:
    """Whether a gate of this target compares with the champion."""
    return any(each.against == CHAMPION and each.concerns(place) for each in config.gates)


def find_champion(desk: Desk) -> Champion:
    """Look the champion up in the journal and its bundle up in the store.

    Raises:
        DigestMismatch: the journal was changed by something other than Slipway, or is not that of what is served.
    """
    state = fold(desk.control.journal.verify(desk.config.name))
    check_servers(desk.control, desk.config.name)
    if state.champion is None:
        return Champion(None, state.last_serial)
    try:
        folder = desk.control.bundle_path(state.digests[state.champion])
        return Champion(state.champion, state.last_serial, folder, _verified(folder))
    except DigestMismatch as error:
        return Champion(state.champion, state.last_serial, failure=str(error))


@cache
def _verified(folder: Path) -> Manifest:
    """Every byte of a bundle is read once a process."""
    return verify(folder)
