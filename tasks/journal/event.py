"""One row of the journal: the only form in which a registration or a move is remembered.

The columns are fixed because every row is hashed with its predecessor's hash: a row that was altered, removed or
slipped in later breaks the chain from there on.
"""

import hashlib
import json
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field

from tasks.foundations.record import Record

Kind = Literal["registered", "promote", "rollback"]
Phase = Literal["intent", "staged", "validated", "moved", "observed", "done", "undone"]

NO_HASH = "0" * 64
"""`prev_hash` of a model's first event."""


class Event(Record):
    """What happened to one version of one model, who did it and why.

    A caller leaves `serial`, `at`, `prev_hash` and `hash` alone: `Journal.append` sets them.

    Attributes:
        model: name of the model.
        serial: 1, 2, 3 ... within the model.
        attempt: id shared by all phases of one move: the caller's request id where there is one.
        kind: what is attempted.
        phase: how far it came; a registration has only `done`.
        version: the version that is registered, or that is to become champion.
        from_version: the champion when the move began, None if there was none.
        digest: digest of the version's bundle.
        actor: who asked for it.
        reason: why, in a person's words; of an undone attempt what went wrong.
        run: URL or id of the run that it came from, None if a person typed it.
        at: time of writing, ISO 8601, UTC.
        prev_hash: `hash` of the event before, `NO_HASH` for the first.
        hash: sha256 (hex) over the canonical JSON of all other columns.
        schema_version: version of this list of columns; the column is called `schema`.
    """

    model_config = ConfigDict(populate_by_name=True)

    model: str
    serial: int = 0
    attempt: str
    kind: Kind
    phase: Phase
    version: int
    from_version: int | None = None
    digest: str
    actor: str
    reason: str
    run: str | None = None
    at: str = ""
    prev_hash: str = NO_HASH
    hash: str = ""
    schema_version: int = Field(default=1, alias="schema")

    def row(self) -> dict[str, Any]:
        """Column name -> value, ready for the table and for JSON."""
        return self.model_dump(by_alias=True)

    def computed_hash(self) -> str:
        """The hash that this event must carry.

        Returns:
            sha256 (hex) over the JSON of every column but `hash`, keys sorted, no spaces, ASCII only.
        """
        columns = self.row()
        del columns["hash"]
        text = json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Milestone(NamedTuple):
    """What counts of an event for an overview: a plain tuple, because there are tens of thousands. See `Event`."""

    model: str
    serial: int
    attempt: str
    kind: Kind
    phase: Phase
    version: int
    digest: str


class Outline(NamedTuple):
    """A model's events in outline.

    Attributes:
        milestones: what changed its champion, and the registration of its newest version, oldest first.
        versions: how many were registered.
        last_serial: serial of the last event.
        is_settled: whether every attempt has ended.
    """

    milestones: list[Milestone]
    versions: int
    last_serial: int
    is_settled: bool
