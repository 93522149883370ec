"""A journal of many models with many versions, every one of them promoted in its turn: years of a busy installation."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.journal.event import NO_HASH, Event, Phase
from tasks.journal.journal import Journal, table

MOVE: tuple[Phase, ...] = ("intent", "staged", "validated", "moved", "observed", "done")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(url: str, models: int, versions: int) -> int:
    """Write the whole chain of every model; returns how many events that are."""
    journal = Journal(url)
    rows = [event.row() for number in range(models) for event in chain(f"model-{number:03}", versions)]
    with journal._engine.begin() as connection:
        connection.execute(table.insert(), rows)
    return len(rows)


def chain(model: str, versions: int) -> Iterator[Event]:
    """Every event of one model, hashed as the journal does."""
    previous = NO_HASH
    for serial, draft in enumerate(_drafts(model, versions), 1):
        at = (BEGAN + timedelta(seconds=serial)).isoformat(timespec="microseconds")
        stamped = draft.model_copy(update={"serial": serial, "at": at, "prev_hash": previous})
        previous = stamped.computed_hash()
        yield stamped.model_copy(update={"hash": previous})


def _drafts(model: str, versions: int) -> Iterator[Event]:
    for version in range(1, versions + 1):
        digest = hashlib.sha256(f"{model} {version}".encode()).hexdigest()
        facts: dict[str, Any] = {
            "model": model,
            "version": version,
            "digest": digest,
            "actor": "ann",
            "reason": "-",
        }
        yield Event(attempt=f"registered-{version}", kind="registered", phase="done", **facts)
        for phase in MOVE:
            before = version - 1 or None
            yield Event(attempt=f"{model}-{version}", kind="promote", phase=phase, from_version=before, **facts)
