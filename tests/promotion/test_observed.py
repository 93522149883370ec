"""A move is done when every server answers with the version, and takes itself back when one does not."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from promotion_world import ANN, World, die, in_child
from standin_node import node

from tasks.foundations.errors import NotServing
from tasks.promotion import attempt
from tasks.promotion.moves import promote, rollback
from tasks.promotion.publish import pointers
from tasks.promotion.reconcile import reconcile
from tasks.promotion.settle import settle_all
from tasks.promotion.status import status

FORCED = ANN.model_copy(update={"force": True})


@pytest.fixture
def first(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Version 1 in production, versions 2 and 3 wait; servers get two seconds to follow, on a busy machine too."""
    monkeypatch.setattr(attempt, "UNDOING_S", 2.0)
    world.settings["onnx_server"] = {"limit_s": 2.0}
    world.register(1, 2, 3)
    promote(world.control, "digits", 1, ANN)
    return world


def killed_after_moved(world: World, move: Callable[[], object]) -> None:
    """Make a move in a child that is killed before it asks the servers."""

    def child() -> None:
        attempt.observe = lambda *_: die()
        move()

    assert in_child(child) == -signal.SIGKILL
    assert world.phases[-1].endswith("moved")


def test_every_server_answers_and_is_named(first: World) -> None:
    with node(first.control.serving_root) as one, node(first.control.serving_root) as two:
        move = promote(first.control, "digits", 2, ANN)

        assert {each.server for each in move.servers} == {one.url, two.url}
        served = pointers(first.control, "digits")["onnx_server"]
        assert {(each.version, each.digest) for each in move.servers} == {(2, served.digest)}
        assert "2 servers answer with it" in move.message
        assert one.asked == two.asked == [served.serial]
        assert "1 server" not in rollback(first.control, "digits", ANN).message
        assert (one.serves, two.serves) == (1, 1)


def test_a_server_that_cannot_load_the_version_undoes_the_promotion_at_once_with_its_reason(first: World) -> None:
    root = first.control.serving_root
    with node(root) as well, node(root, bad=(2,)) as ill:
        reconcile(first.control, "digits")
        with pytest.raises(NotServing, match=rf"{ill.url} .*could not load version 2: a file was cut off") as caught:
            promote(first.control, "digits", 2, ANN)

        assert "It was undone: version 1 still serves" in str(caught.value)
        assert caught.value.exit_code == 1
        assert first.phases[-2:] == ["promote 2 moved", "promote 2 undone"]
        last = first.control.journal.last("digits")
        assert last is not None and "a file was cut off" in last.reason
        served = pointers(first.control, "digits")
        assert {kind: (each.version, each.serial) for kind, each in served.items()} == {
            "onnx_server": (1, last.serial),
            "tf_serving": (1, last.serial),
        }
        assert (well.serves, ill.serves) == (1, 1)
        assert well.asked[-1] == last.serial
        assert first.state.versions[2] == "rolled_back"
        assert first.aliases.read() == {"champion": 1, "challenger": 3}
        assert reconcile(first.control, "digits").failed == ()

    assert promote(first.control, "digits", 2, FORCED).moved


@pytest.mark.parametrize("how", ["hangs", "lags"])
def test_a_server_that_is_alive_and_does_not_follow_holds_the_move_up_to_the_limit(first: World, how: str) -> None:
    with node(first.control.serving_root, lagging=how == "lags") as silent:
        if how == "hangs":
            silent.hang()
        with pytest.raises(NotServing, match=rf"{silent.url} .* within 2 s.*kill -9 {silent.pid}"):
            promote(first.control, "digits", 2, ANN)

        assert first.phases[-1] == "promote 2 undone"
        assert first.served == {"onnx_server": 1, "tf_serving": 1}


def test_a_server_with_other_bytes_under_the_versions_number_does_not_serve_it(first: World) -> None:
    with node(first.control.serving_root, other=True), pytest.raises(NotServing, match="it serves version 2"):
        promote(first.control, "digits", 2, ANN)

    assert first.phases[-1] == "promote 2 undone"


def test_the_newest_versions_config_says_how_long_servers_may_take(first: World) -> None:
    first.settings["onnx_server"] = {"limit_s": 0.3}
    first.register(4)
    with node(first.control.serving_root, lagging=True), pytest.raises(NotServing, match=r"within 0\.3 s"):
        promote(first.control, "digits", 2, ANN)


def test_a_killed_server_holds_nothing_up(first: World) -> None:
    root = first.control.serving_root
    with node(root) as well, node(root) as dead, node(root, deadly=(2,)) as dying:
        dead.kill()
        move = promote(first.control, "digits", 2, ANN)

        assert [each.server for each in move.servers] == [well.url]
        assert dying.process.exitcode == -signal.SIGKILL


def test_a_rollback_that_a_server_does_not_follow_is_undone_and_can_be_repeated(first: World) -> None:
    promote(first.control, "digits", 2, ANN)
    with node(first.control.serving_root, bad=(1,)), pytest.raises(NotServing, match="rollback of digits 1 failed"):
        rollback(first.control, "digits", ANN)
    assert first.state.stack == (2, 1)
    assert first.served == {"onnx_server": 2, "tf_serving": 2}

    assert rollback(first.control, "digits", ANN).version == 1


def test_ctrl_c_while_servers_are_asked_undoes_the_move_without_waiting_for_them(first: World) -> None:
    first.settings["onnx_server"] = {"limit_s": 600}
    first.register(4)
    with node(first.control.serving_root) as silent:
        silent.hang()

        def press() -> None:
            while first.phases[-1] != "promote 2 moved":
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=press, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            promote(first.control, "digits", 2, ANN)

    assert first.phases[-1] == "promote 2 undone"
    assert first.served == {"onnx_server": 1, "tf_serving": 1}


@pytest.mark.parametrize("state", ["well", "bad", "hangs"])
def test_reconcile_asks_the_servers_of_a_killed_move_again_and_always_closes_it(first: World, state: str) -> None:
    root = first.control.serving_root
    killed_after_moved(first, lambda: promote(first.control, "digits", 2, ANN))
    with node(root, bad=(2,) if state == "bad" else ()) as server:
        if state == "hangs":
            server.hang()
        repairs = reconcile(first.control, "digits")

        assert first.state.open_attempts == []
        assert first.state.champion == (2 if state == "well" else 1)
        assert first.phases[-1] == ("promote 2 done" if state == "well" else "promote 2 undone")
        assert first.served["onnx_server"] == first.state.champion
        if state == "hangs":  # said, and no obstacle to anything else
            assert any(server.url in sentence for sentence in repairs.failed)
            assert reconcile(first.control, "digits").done == ()
        else:
            assert repairs.failed == ()
            assert server.serves == first.state.champion


def test_reconcile_names_a_server_that_does_not_serve_what_its_pointer_says(first: World) -> None:
    with node(first.control.serving_root, bad=(1,)) as ill, node(first.control.serving_root):
        (failed,) = reconcile(first.control, "digits").failed

        assert ill.url in failed and "a file was cut off" in failed


def test_a_command_settles_what_it_can_and_waits_for_no_server(first: World) -> None:
    killed_after_moved(first, lambda: promote(first.control, "digits", 2, ANN))
    with node(first.control.serving_root) as silent:
        silent.hang()
        assert settle_all(first.control, 0.1) == {}
        assert first.phases[-1] == "promote 2 moved"
        assert "running, or was killed" in status(first.control, "digits").warnings[0]

    (done,) = settle_all(first.control, 5)["digits"]
    assert "finished the promote of digits 2 that ann began" in done
    assert first.aliases.read()["champion"] == 2
    assert settle_all(first.control) == {}


def test_a_command_leaves_a_model_alone_that_somebody_moves(first: World) -> None:
    killed_after_moved(first, lambda: promote(first.control, "digits", 2, ANN))

    with first.control.exclusive("digits", "bob's promote"):
        assert settle_all(first.control) == {}
    assert first.phases[-1] == "promote 2 moved"


def test_what_cannot_be_settled_stops_no_command(first: World) -> None:
    killed_after_moved(first, lambda: promote(first.control, "digits", 2, ANN))
    (first.home / "locks").rename(first.home / "lost")
    (first.home / "locks").write_text("a file where a folder was")

    (said,) = settle_all(first.control)["digits"]

    assert "could not be settled" in said
    assert status(first.control, "digits").champion == 2


def test_a_plain_rollback_of_a_promotion_that_is_found_undone_goes_back_no_further(first: World) -> None:
    promote(first.control, "digits", 2, ANN)
    killed_after_moved(first, lambda: promote(first.control, "digits", 3, ANN))
    with node(first.control.serving_root, bad=(3,)):
        move = rollback(first.control, "digits", ANN)

    assert not move.moved and "3 is out of production already: 2 serves" in move.message
    assert first.state.stack == (2, 1)


def test_a_move_without_trials_writes_no_such_phase(first: World) -> None:
    promote(replace(first.control, validate=False), "digits", 2, ANN)

    assert first.phases[-5:] == [f"promote 2 {phase}" for phase in ("intent", "staged", "moved", "observed", "done")]
