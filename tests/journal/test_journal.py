"""The journal as a compare-and-set, a history and a chain that shows tampering."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.foundations.errors import Conflict, DigestMismatch, SlipwayError
from tasks.journal.event import NO_HASH, Event
from tasks.journal.fold import fold, standing
from tasks.journal.journal import Journal, table

COLUMNS = [
    "model",
    "serial",
    "attempt",
    "kind",
    "phase",
    "version",
    "from_version",
    "digest",
    "actor",
    "reason",
    "run",
    "at",
    "prev_hash",
    "hash",
    "schema",
]


def event(version: int = 1, model: str = "digits", **changes: Any) -> Event:
    fields = {
        "model": model,
        "attempt": f"attempt-{version}",
        "kind": "registered",
        "phase": "done",
        "version": version,
        "digest": f"{version:064x}",
        "actor": "ann",
        "reason": "release 7",
        **changes,
    }
    return Event.model_validate(fields)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of every kind."""
    if request.param == "postgresql":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        return new_database()
    return f"sqlite:///{tmp_path}/made/journal.db"


def tamper(url: str, statement: str, **values: str) -> None:
    with sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:")).begin() as connection:
        connection.execute(sa.text(statement), values)


def test_the_table_has_the_columns_of_the_design_and_a_row_the_same_names(url: str) -> None:
    written = Journal(url).append(event())

    assert [column.name for column in table.columns] == COLUMNS
    assert list(written.row()) == COLUMNS


def test_events_come_back_as_written_in_order_and_per_model(url: str) -> None:
    journal = Journal(url)
    first, other, second = (
        journal.append(each) for each in (event(1), event(1, model="cats"), event(2, run="http://run/7"))
    )

    again = Journal(url)
    assert again.events("digits") == [first, second]
    assert [each.serial for each in (first, other, second)] == [1, 1, 2]
    assert again.models() == ["cats", "digits"]
    assert first.prev_hash == NO_HASH and second.prev_hash == first.hash
    assert first.at.endswith("+00:00")
    assert again.verify("digits") == [first, second]
    assert again.events("nobody") == [] and again.verify("nobody") == []


def test_an_append_behind_somebody_elses_names_who_moved(url: str) -> None:
    journal = Journal(url)
    seen = journal.append(event(1)).serial
    journal.append(event(2, actor="bob", kind="promote", phase="intent"), expected_serial=seen)

    with pytest.raises(Conflict, match=r"promote of version 2 \(intent\) by bob"):
        journal.append(event(3), expected_serial=seen)
    assert [each.version for each in journal.events("digits")] == [1, 2]


def test_a_serial_that_never_was_is_a_conflict(url: str) -> None:
    journal = Journal(url)

    with pytest.raises(Conflict, match="serial 5 was expected"):
        journal.append(event(1), expected_serial=5)


def test_the_database_itself_refuses_a_serial_twice(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(url)
    first = journal.append(event(1))
    journal.append(event(2, actor="bob"))
    monkeypatch.setattr(journal, "last", lambda model: first)  # the reader was overtaken after it looked

    with pytest.raises(Conflict, match="by bob"):
        journal.append(event(3))
    assert [each.version for each in Journal(url).verify("digits")] == [1, 2]


@pytest.mark.parametrize(
    ("tampering", "serial"),
    [
        ("UPDATE journal SET reason = 'nothing to see' WHERE serial = 2", 2),
        ("UPDATE journal SET version = 9 WHERE serial = 3", 3),
        ("DELETE FROM journal WHERE serial = 1", 1),
        ("DELETE FROM journal WHERE serial = 2", 2),
    ],
)
def test_a_row_changed_by_hand_breaks_the_chain_at_its_serial(url: str, tampering: str, serial: int) -> None:
    journal = Journal(url)
    for version in (1, 2, 3):
        journal.append(event(version))
    tamper(url, tampering)

    with pytest.raises(DigestMismatch, match=f"broken at serial {serial}:"):
        journal.verify("digits")


def test_a_row_rehashed_after_a_change_breaks_the_next_one(url: str) -> None:
    journal = Journal(url)
    written = [journal.append(event(version)) for version in (1, 2)]
    forged = written[0].model_copy(update={"actor": "mallory"})
    tamper(url, "UPDATE journal SET actor = 'mallory', hash = :hash WHERE serial = 1", hash=forged.computed_hash())

    with pytest.raises(DigestMismatch, match="broken at serial 2: it does not follow"):
        journal.verify("digits")


def _race(url: str, actor: str, answers: Any, start: Any) -> None:
    start.wait()
    journal = Journal(url)  # opening races too: the table and the WAL switch
    try:
        journal.append(event(1, actor=actor), expected_serial=0)
        answers.put(("won", actor))
    except Conflict as error:
        answers.put(("lost", str(error)))


def test_of_processes_that_append_at_once_exactly_one_wins(url: str) -> None:
    spawn = multiprocessing.get_context("fork")
    answers, start = spawn.Queue(), spawn.Event()
    racers = [spawn.Process(target=_race, args=(url, f"racer-{n}", answers, start)) for n in range(4)]
    for racer in racers:
        racer.start()
    start.set()
    outcomes = [answers.get(timeout=30) for _ in racers]
    for racer in racers:
        racer.join()

    winners = [actor for outcome, actor in outcomes if outcome == "won"]
    assert len(winners) == 1
    assert all(winners[0] in message for outcome, message in outcomes if outcome == "lost")
    assert [each.actor for each in Journal(url).verify("digits")] == winners


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/journal.db", "nosuchdatabase://host/db"])
def test_a_journal_that_cannot_be_opened_is_one_sentence(url: str) -> None:
    with pytest.raises(SlipwayError, match="journal"):
        Journal(url)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"no database " * 100)

    with pytest.raises(SlipwayError, match="cannot be read or written: file is not a database"):
        Journal(f"sqlite:///{tmp_path}/journal.db")


def test_a_server_that_does_not_answer_is_one_sentence_without_the_password() -> None:
    with pytest.raises(
        SlipwayError, match=r"postgres:\*\*\*@127.0.0.1:1/x cannot be read or written: .*refused"
    ) as told:
        Journal("postgresql://postgres:secret@127.0.0.1:1/x")
    assert "secret" not in str(told.value)


def test_unsettled_names_models_with_an_attempt_that_has_not_ended(url: str) -> None:
    journal = Journal(url)
    assert journal.unsettled() == []
    for model, phases in {
        "open": ("intent", "staged"),
        "done": ("intent", "staged", "moved", "observed", "done"),
        "undone": ("intent", "undone"),
        "again": ("intent", "undone", "intent", "staged"),
        "again_done": ("intent", "undone", "intent", "done"),
    }.items():
        journal.append(event(model=model, kind="registered", phase="done", attempt="r"))
        for phase in phases:
            journal.append(event(model=model, kind="promote", phase=phase, attempt="a"))

    assert journal.unsettled() == ["again", "open"]
    journal.append(event(model="open", kind="promote", phase="done", attempt="a"))
    assert journal.unsettled() == ["again"]


def test_an_outline_stands_for_all_events_of_models_whose_attempts_have_ended(url: str) -> None:
    journal = Journal(url)
    assert journal.outlines() == {}
    for model in ("one", "two"):
        for version in (1, 2, 3, 1):  # the last is registered once more, which makes it no newer
            journal.append(event(model=model, kind="registered", phase="done", attempt="r", version=version))
        for version in (2, 1):
            for phase in ("intent", "moved", "done"):
                journal.append(event(model=model, kind="promote", phase=phase, attempt=f"p{version}", version=version))
    for phase in ("intent", "moved", "undone"):
        journal.append(event(model="two", kind="rollback", phase=phase, attempt="b", version=2))
    journal.append(event(model="two", kind="promote", phase="intent", attempt="p3", version=3))

    found = journal.outlines()

    assert [(model, *outline[1:]) for model, outline in found.items()] == [("one", 3, 10, True), ("two", 3, 14, False)]
    for model, outline in found.items():
        state = fold(journal.events(model)).model_dump()
        expected = standing(outline.milestones).model_dump()
        assert {name: state[name] for name in expected} == expected
        assert (expected["champion"], expected["previous"], expected["challenger"]) == (1, 2, 3)
