import sqlite3

import pytest

from tasks.foundations.errors import SlipwayError
from tasks.journal import journal as module
from tasks.journal.event import Event
from tasks.journal.journal import Journal


def test_a_database_that_another_process_holds_is_not_said_to_lack_room(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    journal = Journal(f"sqlite:///{tmp_path}/journal.db")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    event = Event(
        model="digits", attempt="a", kind="registered", phase="done", version=1, digest="d", actor="ann", reason=""
    )
    with pytest.raises(SlipwayError, match="Another process has held it for 0 s") as caught:
        journal.append(event)
    other.close()

    assert "room" not in str(caught.value)
