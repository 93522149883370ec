"""Moves with real server processes and real models: whatever is killed, a client gets the old or the new answer."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from promotion_world import in_child

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from real_bundles import ANN, RealWorld, expected, rows

from tasks.foundations.errors import DigestMismatch, NotServing, Refused, SlipwayError
from tasks.journal.journal import Journal
from tasks.promotion import attempt
from tasks.promotion.moves import promote, rollback
from tasks.promotion.publish import History
from tasks.promotion.reconcile import reconcile
from tasks.serving.onnx_server import OnnxServer

pytestmark = pytest.mark.slow
CODE = Path(__file__).parents[2]
QUICK = {"limit_s": 20.0, "validation": {"requests": 20}}


@contextmanager
def serving(root: Path) -> Iterator[dict[str, Any]]:
    """A server process; gives the line that it prints."""
    settings = {"root": str(root), "port": 0, "poll_s": 30.0}  # so that it is the move that tells it
    command = [sys.executable, "-m", "tasks.serving.server", json.dumps(settings)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, cwd=CODE, stdout=subprocess.PIPE, stderr=log) as it:
        try:
            assert it.stdout is not None
            yield json.loads(it.stdout.readline())
        finally:
            it.kill()


def answer(url: str) -> np.ndarray[Any, Any]:
    image = rows(3)
    tensor = {"name": "image", "shape": list(image.shape), "datatype": "FP32", "data": image.ravel().tolist()}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("POST", "/v2/models/digits/infer", json.dumps({"inputs": [tensor]}))
        content = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return np.array(content["outputs"][0]["data"], np.float32).reshape(3, 3)


def answers_as(url: str, version: int) -> bool:
    return np.allclose(answer(url), expected(version, rows(3)), atol=1e-5)


def trials() -> list[int]:
    """Servers that were started for a trial and still run."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if '"pinned":{"digits"' in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


@pytest.fixture
def world(tmp_path: Path) -> RealWorld:
    """Version 1 in production, version 2 waits."""
    world = RealWorld(tmp_path, QUICK)
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    return world


# Where the moving process is killed: what is replaced, and whether the new version serves in the end.
BEFORE: dict[str, tuple[Any, str, bool]] = {
    "stage": (History, "stage", False),
    "trial": (OnnxServer, "validate", False),
    "pointers": (History, "switch", True),
    "servers": (attempt, "observe", True),
}
PHASES = {"intent": False, "staged": False, "validated": True, "moved": True, "observed": True, "done": True}


def killed_at(point: str) -> Callable[[], None]:
    """Let a child be killed after a phase was written, or before an act."""

    def arm() -> None:
        owner, name = BEFORE[point][:2] if point in BEFORE else (Journal, "append")
        original = getattr(owner, name)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            if point in PHASES:
                written = original(*args, **kwargs)
                if written.phase != point:
                    return written
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, deadly)

    return arm


def die_in(arm: Callable[[], None], move: Callable[[], object]) -> None:
    def child() -> None:
        arm()
        move()

    assert in_child(child) == -signal.SIGKILL


def assert_settled(world: RealWorld, url: str, champion: int) -> None:
    assert reconcile(world.control, "digits").failed == ()
    assert world.state().champion == world.pointed() == champion
    assert world.state().open_attempts == []
    assert answers_as(url, champion)
    assert not list(world.root.rglob(".staging-*"))
    world.control.journal.verify("digits")


def test_a_promotion_killed_anywhere_leaves_the_old_or_the_new_answers(world: RealWorld) -> None:
    with serving(world.root) as server:
        for point in [*PHASES, *BEFORE]:
            die_in(killed_at(point), lambda: promote(world.control, "digits", 2, ANN.model_copy(update=FORCE)))
            assert answers_as(server["url"], 1) or answers_as(server["url"], 2)

            made = PHASES[point] if point in PHASES else BEFORE[point][2]
            assert_settled(world, server["url"], 2 if made else 1)
            if made:
                assert rollback(world.control, "digits", ANN).version == 1
                assert answers_as(server["url"], 1)
    assert trials() == []


def test_a_rollback_killed_anywhere_leaves_the_old_or_the_new_answers(world: RealWorld) -> None:
    with serving(world.root) as server:
        for point in ("intent", "staged", "pointers", "moved", "servers", "observed", "done"):
            promote(world.control, "digits", 2, ANN.model_copy(update=FORCE))
            die_in(killed_at(point), lambda: rollback(world.control, "digits", ANN))
            assert answers_as(server["url"], 1) or answers_as(server["url"], 2)

            assert_settled(world, server["url"], 2 if point == "intent" else 1)


FORCE = {"force": True}


def test_a_trial_ends_with_the_process_that_began_it(world: RealWorld) -> None:
    pid = os.fork()
    if not pid:
        promote(world.control, "digits", 2, ANN)
        os._exit(0)
    while not trials():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until = time.monotonic() + 60
    while trials() and time.monotonic() < until:
        time.sleep(0.05)

    assert trials() == []
    reconcile(world.control, "digits")
    assert world.phases()[-1] == "promote 2 undone"
    assert world.state().versions[2] == "challenger"


def test_ctrl_c_in_a_trial_leaves_no_server_and_an_undone_move(world: RealWorld) -> None:
    pid = os.fork()
    if not pid:
        try:
            promote(world.control, "digits", 2, ANN)
        except KeyboardInterrupt:
            os._exit(7)
        os._exit(0)
    while not trials():
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert trials() == []
    assert world.phases()[-1] == "promote 2 undone"


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:-1] + b"x"])
def test_a_staged_copy_that_is_damaged_before_its_trial_gets_no_traffic(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    original = OnnxServer.stage

    def damaged(self: OnnxServer, root: Path, model: str, version: int, payload: Any) -> bool:
        done = original(self, root, model, version, payload)
        file = world.copy(version) / "model.onnx"
        if version == 2:
            file.write_bytes(damage(file.read_bytes()))
        return done

    with serving(world.root) as server, monkeypatch.context() as patch:
        patch.setattr(OnnxServer, "stage", damaged)
        with pytest.raises(Refused, match="gets no traffic.*has digest"):
            promote(world.control, "digits", 2, ANN)
        assert answers_as(server["url"], 1)
    assert world.phases()[-1] == "promote 2 undone"
    assert promote(world.control, "digits", 2, ANN).moved  # the copy is made again


def test_a_bundle_that_is_damaged_is_not_even_copied(world: RealWorld) -> None:
    bundle = world.control.bundle_path(world.state().digests[2])
    (bundle / "targets/cpu/model.onnx").write_bytes(b"")

    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        promote(world.control, "digits", 2, ANN)
    assert not world.copy(2).exists()


def test_a_server_whose_copy_is_damaged_after_the_trial_sends_everybody_back(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = History.switch

    def damaged(self: History, serial: int) -> list[str]:
        warnings = original(self, serial)
        if self.stack[0] == 2:
            (world.copy(2) / "model.onnx").write_bytes(b"")
        return warnings

    with serving(world.root) as one, serving(world.root) as two:
        with monkeypatch.context() as patch:
            patch.setattr(History, "switch", damaged)
            with pytest.raises(NotServing, match=r"could not load version 2.*version 1 still serves"):
                promote(world.control, "digits", 2, ANN)
        assert answers_as(one["url"], 1) and answers_as(two["url"], 1)
    assert world.phases()[-2:] == ["promote 2 moved", "promote 2 undone"]
    assert world.pointed() == 1


def test_a_server_that_is_stopped_holds_the_move_up_and_one_that_is_killed_does_not(tmp_path: Path) -> None:
    world = RealWorld(tmp_path, {**QUICK, "limit_s": 3.0}).register(1, 2)
    promote(world.control, "digits", 1, ANN)
    with serving(world.root) as well, serving(world.root) as stopped:
        os.kill(stopped["pid"], signal.SIGSTOP)
        with pytest.raises(NotServing, match=f"kill -9 {stopped['pid']}"):
            promote(world.control, "digits", 2, ANN)
        assert answers_as(well["url"], 1)

        os.kill(stopped["pid"], signal.SIGKILL)
        move = promote(world.control, "digits", 2, ANN.model_copy(update=FORCE))

        assert [each.server for each in move.servers] == [well["url"]]
        assert answers_as(well["url"], 2)


def test_a_server_started_later_serves_what_was_promoted_without_one(world: RealWorld) -> None:
    assert "No server is running" in promote(world.control, "digits", 2, ANN).message

    with serving(world.root) as server:
        assert answers_as(server["url"], 2)


def test_a_first_promotion_that_no_server_can_load_leaves_nothing_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RealWorld(tmp_path, QUICK).register(1)
    (world.root / "onnx_server").mkdir(parents=True)
    original = History.switch

    def damaged(self: History, serial: int) -> list[str]:
        warnings = original(self, serial)
        if self.stack:
            (world.copy(1) / "golden" / "golden.json").unlink()
        return warnings

    monkeypatch.setattr(History, "switch", damaged)
    with serving(world.root), pytest.raises(SlipwayError, match="nothing serves, as before"):
        promote(world.control, "digits", 1, ANN)
    assert world.pointed() is None and world.state().champion is None
