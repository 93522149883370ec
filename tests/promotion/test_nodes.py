"""Who has to answer a move: what is alive here, however long it was silent, and what was heard of lately elsewhere."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from promotion_world import ANN, World
from standin_node import node

from tasks.foundations.errors import NotServing
from tasks.promotion import attempt
from tasks.promotion.moves import promote
from tasks.promotion.status import status
from tasks.serving import nodes, onnx_observation
from tasks.serving.nodes import Node, living, register


@pytest.fixture
def first(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Version 1 in production, version 2 waits; servers get a second, and are quickly taken for lost."""
    monkeypatch.setattr(attempt, "UNDOING_S", 1.0)
    monkeypatch.setattr(nodes, "LOST_SECONDS", 0.2)
    world.settings["onnx_server"] = {"limit_s": 1.0}
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    return world


def elsewhere(root: Path, **changes: object) -> Node:
    fields = {"id": "far", "host": "far.example", "pid": 7, "started": "2026-11-28T00:00:00+00:00"}
    found = Node.model_validate({**fields, "url": "http://far:8080", "admin": "http://127.0.0.1:9", **changes})
    register(root, found)
    return found


def heard_of(root: Path, node_id: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(root / "nodes" / f"{node_id}.json", (then, then))


def test_a_stopped_server_of_this_machine_is_waited_for_however_long_it_was_silent(first: World) -> None:
    with node(first.control.serving_root) as stopped:
        stopped.hang()
        time.sleep(0.4)  # more than LOST_SECONDS
        with pytest.raises(NotServing, match=rf"{stopped.url} .* did not answer with version 2"):
            promote(first.control, "digits", 2, ANN)

        os.kill(stopped.pid, signal.SIGCONT)
        assert first.state.champion == 1
        assert (
            promote(first.control, "digits", 2, ANN.model_copy(update={"force": True})).servers[0].server == stopped.url
        )


def test_a_server_elsewhere_that_is_not_heard_of_is_not_waited_for_and_named(first: World) -> None:
    root = first.control.serving_root
    elsewhere(root)
    heard_of(root, "far", 100)
    elsewhere(root, id="other", url="http://other:8080", models=("cats",))
    heard_of(root, "other", 100)

    move = promote(first.control, "digits", 2, ANN)

    (warning,) = move.warnings
    assert "http://far:8080 (process 7 on far.example) has not been heard of for 100 s; it will follow when" in warning
    assert status(first.control, "digits").warnings == (warning,)


def test_a_server_elsewhere_that_was_heard_of_lately_is_waited_for(first: World) -> None:
    elsewhere(first.control.serving_root)
    heard_of(first.control.serving_root, "far", -100)

    with pytest.raises(NotServing, match="http://far:8080"):
        promote(first.control, "digits", 2, ANN)


def test_a_process_that_only_has_the_number_of_a_server_is_none(first: World) -> None:
    root = first.control.serving_root
    with node(root) as other:
        heard_of(root, f"node-{other.pid}", 3600)  # long before this process began

        assert living(root) == []
    assert list((root / "nodes").iterdir()) == []


@pytest.fixture
def busy(first: World) -> Iterator[str]:
    """A server that never answers a look, on this machine."""
    with node(first.control.serving_root) as silent:
        silent.hang()
        yield silent.url


def test_a_look_ends_whatever_a_server_does(first: World, busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_observation, "LOOK_S", 0.1)

    (server,) = status(first.control, "digits").servers

    assert (server.url, server.version, server.failed) == (busy, None, "does not answer")
