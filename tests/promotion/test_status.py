"""What `status` says of a version that came to nothing, and of servers that say something."""

import signal
from typing import Any

import pytest
from promotion_world import ANN, World, die, in_child

from tasks.foundations.errors import Refused, SlipwayError
from tasks.promotion.moves import promote
from tasks.promotion.publish import History
from tasks.promotion.reconcile import reconcile
from tasks.promotion.status import Asked, status
from tasks.serving.nodes import Node
from tasks.serving.onnx_server import OnnxServer

WHY = "p99 of 200 requests is 31 ms (p50 9 ms); at most 20 ms is asked."


@pytest.fixture
def first(world: World) -> World:
    """Version 1 in production, version 2 waits."""
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    return world


def refuse(monkeypatch: pytest.MonkeyPatch, log: str = "") -> None:
    def refused(*_: Any) -> None:
        raise Refused(f"Version 2 of digits gets no traffic: {WHY}{log}")

    monkeypatch.setattr(OnnxServer, "validate", refused)


def test_a_log_is_for_the_command_and_the_journal_has_one_line(first: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "\nThe end of its server's log:\nwords")

    with pytest.raises(Refused, match="words"):
        promote(first.control, "digits", 2, ANN)
    last = first.control.journal.last("digits")
    assert last is not None and last.reason == f"Refused: Version 2 of digits gets no traffic: {WHY}"


def test_a_challenger_that_its_trial_refused_is_named_until_it_or_another_one_is_promoted(
    first: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(first.control, "digits").warnings == ()
    with monkeypatch.context() as patch:
        refuse(patch)
        with pytest.raises(Refused):
            promote(first.control, "digits", 2, ANN)

    told = status(first.control, "digits")
    last = first.control.journal.last("digits")
    assert last is not None and told.challenger == 2
    assert told.warnings == (f"version 2 of digits was refused by its trial at {last.at}: {WHY}",)

    promote(first.control, "digits", 2, ANN)
    assert status(first.control, "digits").warnings == ()


def test_a_challenger_whose_move_was_killed_is_named(first: World) -> None:
    def child() -> None:
        OnnxServer.validate = lambda *_: die()  # type: ignore[assignment, method-assign]
        promote(first.control, "digits", 2, ANN)

    assert in_child(child) == -signal.SIGKILL
    reconcile(first.control, "digits")

    (warning,) = status(first.control, "digits").warnings
    assert "the promote of version 2 of digits was undone at" in warning
    assert "had stopped after `staged`" in warning


def test_a_move_that_can_simply_be_repeated_is_no_warning(first: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SlipwayError("There is no room")

    monkeypatch.setattr(History, "stage", full)
    with pytest.raises(SlipwayError):
        promote(first.control, "digits", 2, ANN)

    assert first.phases[-1] == "promote 2 undone"
    assert status(first.control, "digits").warnings == ()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"digits": {"version": 1, "serial": 3, "digest": "d", "failed": {"version": 2, "reason": "a file is cut"}}},
            (1, 3, "d", "could not load version 2: a file is cut"),
        ),
        ({}, (None, None, None, None)),
        (None, (None, None, None, "does not answer")),
    ],
)
def test_what_a_server_says_is_shown(first: World, said: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    node = Node(id="n", host="h", pid=1, url="http://h:1", admin="http://h:2", started="2026-11-28T00:00:00+00:00")
    other = node.model_copy(update={"id": "o", "models": ("cats",)})
    asked: Asked = [(node, said), (other, said)]

    (server,) = status(first.control, "digits", asked).servers

    assert (server.version, server.serial, server.digest, server.failed) == expected
