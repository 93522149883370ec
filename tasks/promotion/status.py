"""What is in production, as a value: for a person, for `--json`, for the report."""

from typing import Any

from tasks.foundations.errors import DigestMismatch
from tasks.foundations.record import Record
from tasks.journal.event import Event
from tasks.journal.fold import State, fold
from tasks.journal.journal import Journal
from tasks.promotion.control import Control
from tasks.promotion.known import check_model, has_files, strangers


class VersionStatus(Record):
    """One version.

    Attributes:
        version: its number.
        state: see `tasks.journal.fold.ModelState.versions`.
        digest: of its bundle.
        at: when it was registered (or first seen), ISO 8601, UTC.
        has_files: whether it can come back; `clean` removes the files of old versions.
    """

    version: int
    state: State
    digest: str
    at: str
    has_files: bool


class Status(Record):
    """One model in production.

    Attributes:
        model: its name.
        champion: the version in production, None if there is none.
        previous: what a plain rollback goes to, None if there is nothing or its files were removed.
        challenger: the newest version that passed and waits, None if there is none.
        versions: every version, oldest first.
        journal: every event, oldest first, by column name.
        warnings: interrupted moves, a broken hash chain, servers that follow another journal.
        serial: the journal's last serial: what `Order.expected_serial` wants.
    """

    model: str
    champion: int | None
    previous: int | None
    challenger: int | None
    versions: tuple[VersionStatus, ...]
    journal: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    serial: int


def status(control: Control, model: str) -> Status:
    """Read the journal of one model, and what its servers point to.

    Raises:
        InputError: no such model; the message lists those there are.
    """
    journal = control.journal
    check_model(journal, model)
    events = journal.events(model)
    state = fold(events)
    versions = tuple(
        VersionStatus(
            version=version,
            state=word,
            digest=state.digests[version],
            at=_since(events, version),
            has_files=has_files(control, state.digests[version]),
        )
        for version, word in state.versions.items()
    )
    back = {each.version for each in versions if each.has_files}
    interrupted = [
        f"{event.actor}'s {event.kind} of version {event.version} is at `{event.phase}` since {event.at}: "
        "it is running, or was killed; then run `reconcile`."
        for event in state.open_attempts
    ]
    return Status(
        model=model,
        champion=state.champion,
        previous=state.previous if state.previous in back else None,
        challenger=state.challenger,
        versions=versions,
        journal=tuple(event.row() for event in events),
        warnings=(*_broken_chain(journal, model), *strangers(control, model), *interrupted),
        serial=state.last_serial,
    )


def _since(events: list[Event], version: int) -> str:
    return next(event.at for event in events if event.version == version)


def _broken_chain(journal: Journal, model: str) -> list[str]:
    try:
        journal.verify(model)
    except DigestMismatch as error:
        return [str(error)]
    return []
