"""What is in production, as a value: for a person, for `--json`, for the report."""

from typing import Any

from tasks.foundations.errors import DigestMismatch
from tasks.foundations.record import Record
from tasks.journal.event import Event
from tasks.journal.fold import ModelState, State, fold
from tasks.journal.journal import Journal
from tasks.promotion.control import Control
from tasks.promotion.known import check_model, has_files, strangers
from tasks.promotion.observation import unheard
from tasks.serving.nodes import Node, living
from tasks.serving.onnx_observation import look

NO_ANSWER = "does not answer"


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


class ServerStatus(Record):
    """One registered server, and what it says of one model.

    Attributes:
        url: where it answers clients.
        admin: where it answers to moves.
        pid: its process.
        host: name of its machine.
        version: what it serves, None if nothing or if it does not answer; so are the next two.
        serial: of the move that it follows.
        digest: of what it serves.
        failed: what it could not load and why, or that it does not answer; None if all is well.
    """

    url: str
    admin: str
    pid: int
    host: str
    version: int | None = None
    serial: int | None = None
    digest: str | None = None
    failed: str | None = None


class Status(Record):
    """One model in production.

    Attributes:
        model: its name.
        champion: the version in production, None if there is none.
        previous: what a plain rollback goes to, None if there is nothing or its files were removed.
        challenger: the newest version that passed and waits, None if there is none.
        versions: every version, oldest first.
        journal: every event, oldest first, by column name.
        servers: every registered server of the model, as it answers now.
        warnings: interrupted moves, a challenger that was refused, a broken hash chain, servers that follow another
            journal or have not been heard of.
        serial: the journal's last serial: what `Order.expected_serial` wants.
    """

    model: str
    champion: int | None
    previous: int | None
    challenger: int | None
    versions: tuple[VersionStatus, ...]
    journal: tuple[dict[str, Any], ...]
    servers: tuple[ServerStatus, ...]
    warnings: tuple[str, ...]
    serial: int


Asked = list[tuple[Node, dict[str, Any] | None]]
"""Nodes with what they say of every model, None where they do not answer."""


def ask_servers(control: Control, model: str | None = None) -> Asked:
    """Look at what every registered server (of a model) serves, all at once and for half a second at most."""
    nodes = living(control.serving_root, model)
    said = look(nodes)
    return [(node, said.get(node.id)) for node in nodes]


def status(control: Control, model: str, asked: Asked | None = None) -> Status:
    """Read the journal of one model, what its servers point to, and what they serve.

    Args:
        control: where production is controlled from.
        model: name of the model.
        asked: what servers have answered, for whoever asks for several models; None asks them now.

    Raises:
        InputError: no such model; the message lists those there are.
        DigestMismatch: the journal does not know the model, and servers follow it.
    """
    journal = control.journal
    check_model(control, model)
    asked = ask_servers(control, model) if asked is None else asked
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
    return Status(
        model=model,
        champion=state.champion,
        previous=state.previous if state.previous in back else None,
        challenger=state.challenger,
        versions=versions,
        journal=tuple(event.row() for event in events),
        servers=tuple(server_status(node, said, model) for node, said in asked if node.serves(model)),
        warnings=(
            *_broken_chain(journal, model),
            *strangers(control, model),
            *interrupted(state),
            *undone_challenger(events, model, state.challenger),
            *unheard(control, model),
        ),
        serial=state.last_serial,
    )


def _since(events: list[Event], version: int) -> str:
    return next(event.at for event in events if event.version == version)


def interrupted(state: ModelState) -> list[str]:
    """A sentence for every attempt that has not ended."""
    return [
        f"{event.actor}'s {event.kind} of version {event.version} is at `{event.phase}` since {event.at}: "
        "it is running, or was killed; then run `reconcile`."
        for event in state.open_attempts
    ]


def server_status(node: Node, said: dict[str, Any] | None, model: str) -> ServerStatus:
    """What a server says of a model, None where it does not answer."""
    server = ServerStatus(url=node.url, admin=node.admin, pid=node.pid, host=node.host, failed=NO_ANSWER)
    if said is None:
        return server
    entry: dict[str, Any] = said.get(model) or {}  # empty where it has not found the model yet
    failed = entry.get("failed")
    why = f"could not load version {failed.get('version')}: {failed.get('reason')}" if failed else None
    known = {name: entry.get(name) for name in ("version", "serial", "digest")}
    return server.model_copy(update={**known, "failed": why})


def undone_challenger(events: list[Event], model: str, challenger: int | None) -> list[str]:
    """A challenger whose last promotion came to nothing, for a reason that will hold if it is just tried again."""
    moves = [event for event in events if event.kind == "promote" and event.version == challenger]
    if not moves or moves[-1].phase != "undone":
        return []
    last = moves[-1]
    word, _, reason = last.reason.partition(": ")
    tried = any(event.attempt == last.attempt and event.phase == "staged" for event in moves)
    if word == "Refused" and tried:
        reason = reason.removeprefix(f"Version {challenger} of {model} gets no traffic: ")
        return [f"version {challenger} of {model} was refused by its trial at {last.at}: {reason}"]
    if word in ("Refused", "undone"):
        return [f"the promote of version {challenger} of {model} was undone at {last.at}: {reason}"]
    return []  # a disk was full, somebody pressed Ctrl-C: whoever gave the command was told, and can repeat it


def _broken_chain(journal: Journal, model: str) -> list[str]:
    try:
        journal.verify(model)
    except DigestMismatch as error:
        return [str(error)]
    return []
