"""SIGKILL at every point of a move, a full disk, rivals: `reconcile` always ends in one consistent production."""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from promotion_world import ANN, World, die, in_child

from tasks.foundations.errors import Conflict, InputError, SlipwayError
from tasks.promotion import attempt, moves, settle
from tasks.promotion.moves import promote, rollback
from tasks.promotion.publish import History
from tasks.promotion.reconcile import Repairs, reconcile, retain
from tasks.promotion.status import status
from tasks.serving import staging
from tasks.serving.onnx_server import OnnxServer
from tasks.serving.tf_serving import TfServing
from tasks.store.digest import digest_folder

KILLED = -signal.SIGKILL


def kill_before(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Replace a function, in a child only, by one that is killed at its start."""
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            die()
        return original(*args, **kwargs)

    setattr(owner, name, dying)


def kill_after(owner: Any, name: str) -> None:
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        die()

    setattr(owner, name, dying)


def before_note(phase: str) -> Callable[[], None]:
    def arm() -> None:
        for module in (attempt, moves, settle):
            kill_before(module, "note", lambda control, move, at, *_: at == phase)

    return arm


# In the order of a move: what the child is armed with, and the phase that the journal has when it dies.
POINTS: dict[str, tuple[Callable[[], None], str]] = {
    "after the intent": (lambda: kill_before(History, "stage"), "intent"),
    "in the middle of a copy": (lambda: kill_after(staging, "_copy_file"), "intent"),
    "before the copy gets its name": (lambda: kill_before(Path, "rename"), "intent"),
    "after the first kind is staged": (lambda: kill_before(TfServing, "stage"), "intent"),
    "before `staged` is written": (before_note("staged"), "intent"),
    "after `staged`": (lambda: kill_before(History, "switch"), "staged"),
    "before the pointer is replaced": (
        lambda: kill_before(Path, "replace", lambda self, target: Path(target).name == "pointer.json"),
        "staged",
    ),
    "after the first pointer": (lambda: kill_before(TfServing, "point"), "staged"),
    "before the server's config": (lambda: kill_before(TfServing, "_write_config"), "staged"),
    "before `moved` is written": (before_note("moved"), "staged"),
    "after `moved`": (before_note("done"), "moved"),
    "before the aliases": (lambda: kill_before(moves, "align"), "done"),
}
ROLLBACK_POINTS = ["after the intent", "after `staged`", "after the first pointer", "after `moved`"]
SETTLED_POINTS = ["in the middle of a copy", "before the server's config", "after `moved`"]


def assert_consistent(world: World, champion: int | None) -> None:
    """Journal, both servers, TensorFlow Serving's config and the registry say the same, and nothing is left over."""
    state = world.state
    assert state.champion == champion
    assert state.open_attempts == []
    assert world.served == ({} if champion is None else {"onnx_server": champion, "tf_serving": champion})
    assert world.leftovers() == []
    config = world.home / "serving/tf_serving/models.config"
    assert f"value: {champion} " in config.read_text() if champion else not config.exists() or "value" not in config
    assert world.aliases.read().get("champion") == champion
    for version in (1, 2):
        for kind in ("onnx_server", "tf_serving"):
            if world.folder(kind, version).exists():
                assert digest_folder(world.folder(kind, version)) == digest_folder(world.source(kind, version))
    world.control.journal.verify("digits")
    assert reconcile(world.control, "digits") == Repairs()


def die_while(world: World, arm: Callable[[], None], move: Callable[[], object]) -> None:
    def child() -> None:
        arm()
        move()

    assert in_child(child) == KILLED


@pytest.mark.parametrize("point", POINTS)
def test_a_promotion_killed_anywhere_is_finished_or_undone(world: World, point: str) -> None:
    arm, phase = POINTS[point]
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    die_while(world, arm, lambda: promote(world.control, "digits", 2, ANN))

    assert world.phases[-1] == f"promote 2 {phase}"
    done = reconcile(world.control, "digits").done
    assert_consistent(world, 1 if phase == "intent" else 2)
    assert world.phases[-1] == ("promote 2 undone" if phase == "intent" else "promote 2 done")
    assert phase == "done" or "that ann began" in done[0]


@pytest.mark.parametrize("point", ["after the intent", "after the first pointer", "before `moved` is written"])
def test_the_first_promotion_killed_is_finished_or_undone(world: World, point: str) -> None:
    arm, phase = POINTS[point]
    world.register(1)

    die_while(world, arm, lambda: promote(world.control, "digits", 1, ANN))
    reconcile(world.control, "digits")

    assert world.state.champion == (None if phase == "intent" else 1)
    assert world.served == ({} if phase == "intent" else {"onnx_server": 1, "tf_serving": 1})
    assert world.state.open_attempts == []


@pytest.mark.parametrize("point", ROLLBACK_POINTS)
def test_a_rollback_killed_anywhere_is_finished_or_undone(world: World, point: str) -> None:
    arm, phase = POINTS[point]
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)

    die_while(world, arm, lambda: rollback(world.control, "digits", ANN))
    reconcile(world.control, "digits")

    assert_consistent(world, 2 if phase == "intent" else 1)


@pytest.mark.parametrize("point", SETTLED_POINTS)
def test_the_next_move_settles_what_was_left(world: World, point: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    die_while(world, POINTS[point][0], lambda: promote(world.control, "digits", 2, ANN))

    promote(world.control, "digits", 2, ANN)

    assert world.state.stack == (2, 1)
    assert_consistent(world, 2)


@pytest.mark.parametrize("second", ["before `moved` is written", "after `moved`", "before the server's config"])
def test_a_reconcile_that_is_killed_itself_can_be_run_again(world: World, second: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    die_while(world, POINTS["after `staged`"][0], lambda: promote(world.control, "digits", 2, ANN))
    die_while(world, POINTS[second][0], lambda: reconcile(world.control, "digits"))

    reconcile(world.control, "digits")

    assert_consistent(world, 2)


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("owner", [TfServing, OnnxServer])
def test_an_undoing_that_is_killed_is_undone_to_its_end(world: World, owner: type) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    def arm() -> None:
        before_note("undone")()
        original, calls = owner.point, []

        def fails_once(*args: Any) -> None:
            calls.append(1)
            if len(calls) == 1:
                _full()
            original(*args)

        owner.point = fails_once

    die_while(world, arm, lambda: promote(world.control, "digits", 2, ANN))
    assert world.phases[-1] == "promote 2 staged"
    assert not [warning for warning in status(world.control, "digits").warnings if "lost" in warning]
    reconcile(world.control, "digits")

    # With no pointer touched yet there was nothing to undo: going on is as good.
    assert_consistent(world, 1 if owner is TfServing else 2)


def test_a_pointer_that_cannot_be_written_puts_the_others_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    original = TfServing.point
    monkeypatch.setattr(
        TfServing, "point", lambda self, root, model, p: _full() if p.version == 2 else original(self, root, model, p)
    )

    with pytest.raises(SlipwayError, match=r"No space left on device.*version 1 still serves"):
        promote(world.control, "digits", 2, ANN)

    assert world.phases[-1] == "promote 2 undone"
    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    monkeypatch.undo()
    assert promote(world.control, "digits", 2, ANN).moved
    assert_consistent(world, 2)


def test_the_first_promotion_that_fails_leaves_nothing_served(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1)
    monkeypatch.setattr(TfServing, "point", _full)

    with pytest.raises(SlipwayError, match="nothing serves, as before"):
        promote(world.control, "digits", 1, ANN)

    assert world.served == {}
    assert world.state.versions == {1: "challenger"}


@pytest.mark.parametrize("where", ["stage", "point"])
def test_ctrl_c_in_the_middle_of_a_move_undoes_it(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    original, pressed = getattr(TfServing, where), []

    def interrupted_once(*args: Any) -> Any:
        if not pressed:
            pressed.append(1)
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(TfServing, where, interrupted_once)
        with pytest.raises(KeyboardInterrupt):
            promote(world.control, "digits", 2, ANN)

    assert world.phases[-1] == "promote 2 undone"
    assert_consistent(world, 1)


def test_an_impatient_second_ctrl_c_is_like_a_kill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    with monkeypatch.context() as patch:
        patch.setattr(TfServing, "point", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            promote(world.control, "digits", 2, ANN)

    assert world.phases[-1] == "promote 2 staged"
    reconcile(world.control, "digits")
    assert_consistent(world, 1)


def test_ctrl_c_after_the_servers_have_switched_keeps_the_move(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    original = attempt.note

    def interrupted(control: Any, move: Any, phase: Any, *args: Any, **kwargs: Any) -> Any:
        if phase == "done":
            signal.raise_signal(signal.SIGINT)
        return original(control, move, phase, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(attempt, "note", interrupted)
        with pytest.raises(KeyboardInterrupt):
            promote(world.control, "digits", 2, ANN)

    assert world.phases[-1] == "promote 2 moved"
    reconcile(world.control, "digits")
    assert_consistent(world, 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "serving"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("checked", [True, False])
def test_a_disk_that_is_full_while_staging_leaves_the_champion_and_an_undone_attempt(
    small_disk: Path, world: World, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"x" * (free - 80_000))  # room for one of the two kinds
    if not checked:
        monkeypatch.setattr(staging, "_check_room", lambda base, payload: None)

    with pytest.raises(SlipwayError, match="no room for a version" if checked else "No space left on device"):
        promote(world.control, "digits", 2, ANN)

    assert world.phases[-1] == "promote 2 undone"
    assert_consistent(world, 1)
    (small_disk / "filler").unlink()
    assert promote(world.control, "digits", 2, ANN).moved
    assert_consistent(world, 2)


def _rival(world: World, version: int, decided: int, start: Any, answers: Any) -> None:
    start.wait()
    order = ANN.model_copy(update={"actor": f"rival-{version}", "expected_serial": decided})
    try:
        promote(world.control, "digits", version, order)
        answers.put((version, "won"))
    except Conflict as error:
        answers.put((version, str(error)))


def test_of_two_promotions_at_once_exactly_one_wins_and_the_other_knows_to_whom(world: World) -> None:
    fork = multiprocessing.get_context("fork")
    world.register(1, 2, 3)
    promote(world.control, "digits", 1, ANN)
    start, answers = fork.Event(), fork.Queue()
    decided = world.state.last_serial
    rivals = [fork.Process(target=_rival, args=(world, version, decided, start, answers)) for version in (2, 3)]
    for rival in rivals:
        rival.start()
    start.set()
    outcomes = dict(answers.get(timeout=60) for _ in rivals)
    for rival in rivals:
        rival.join()

    (winner,) = [version for version, outcome in outcomes.items() if outcome == "won"]
    assert f"rival-{winner}" in outcomes[5 - winner]
    assert_consistent(world, winner)


def test_a_live_move_is_neither_overtaken_nor_reconciled(world: World) -> None:
    fork = multiprocessing.get_context("fork")
    world.register(1, 2)
    entered, leave = fork.Event(), fork.Event()

    def slow() -> None:
        original = History.switch

        def waiting(self: History, serial: int) -> list[str]:
            entered.set()
            leave.wait(60)
            return original(self, serial)

        History.switch = waiting  # type: ignore[method-assign]
        promote(world.control, "digits", 1, ANN)

    child = fork.Process(target=slow)
    child.start()
    assert entered.wait(60)

    held = rf"ann's promote of version 1 \(process {child.pid}, since 20"
    for act in (
        lambda: promote(world.control, "digits", 2, ANN),
        lambda: rollback(world.control, "digits", ANN),
        lambda: reconcile(world.control, "digits"),
        lambda: retain(world.control, "digits", 1),
    ):
        with pytest.raises(Conflict, match=held):
            act()
    assert "running, or was killed" in status(world.control, "digits").warnings[0]
    leave.set()
    child.join(60)

    assert world.phases == ["promote 1 intent", "promote 1 staged", "promote 1 moved", "promote 1 done"]


def test_a_mover_elsewhere_is_noticed_at_the_next_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines on one PostgreSQL journal share no lock: the serial is what protects them."""
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    original = History.stage

    def overtaken(self: History, version: int) -> None:
        original(self, version)
        last = world.control.journal.last("digits")
        assert last is not None
        world.control.journal.append(last.model_copy(update={"actor": "bob", "attempt": "elsewhere", "version": 1}))

    with monkeypatch.context() as patch:
        patch.setattr(History, "stage", overtaken)
        with pytest.raises(Conflict, match="by bob"):
            promote(world.control, "digits", 2, ANN)

    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    assert world.phases[-1] == "promote 2 undone"


def test_reconcile_mends_what_a_hand_has_broken(world: World) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)
    serving = world.home / "serving"
    (serving / "onnx_server/digits/pointer.json").unlink()
    (serving / "tf_serving/models.config").unlink()
    (serving / "tf_serving/digits/.staging-3-x").mkdir()
    world.aliases.set_alias("digits", "champion", 1)

    done = reconcile(world.control, "digits").done

    assert done == (
        "removed the leftover tf_serving/digits/.staging-3-x",
        "onnx_server: pointed to version 2 again",
    )
    assert_consistent(world, 2)
    assert promote(world.control, "digits", 1, ANN.model_copy(update={"force": True})).moved


def test_reconcile_of_an_unknown_model_lists_the_known_ones(world: World) -> None:
    world.register(1)

    with pytest.raises(InputError, match="Known: digits"):
        reconcile(world.control, "dogs")
    assert reconcile(world.control, "digits") == Repairs()


def test_a_killed_request_tried_again_is_applied_once(world: World) -> None:
    world.register(1, 2, 3)
    for version in (1, 2, 3):
        promote(world.control, "digits", version, ANN)
    order = ANN.model_copy(update={"request_id": "r-1"})
    die_while(world, POINTS["after the first pointer"][0], lambda: rollback(world.control, "digits", order))

    assert not rollback(world.control, "digits", order).moved
    assert world.state.champion == 2


def test_a_request_undone_and_tried_again_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1)
    order = ANN.model_copy(update={"request_id": "r-1"})
    with monkeypatch.context() as patch:
        patch.setattr(TfServing, "stage", _full)
        with pytest.raises(SlipwayError):
            promote(world.control, "digits", 1, order)

    assert promote(world.control, "digits", 1, order).moved
    assert [phase.split()[-1] for phase in world.phases] == ["intent", "undone", "intent", "staged", "moved", "done"]


def test_retention_keeps_what_serves_and_what_a_rollback_needs(world: World) -> None:
    world.register(1, 2, 3, 4)
    for version in (1, 2, 3):
        promote(world.control, "digits", version, ANN)

    assert retain(world.control, "digits", 0) == ["onnx_server/digits/1", "tf_serving/digits/1"]
    assert rollback(world.control, "digits", ANN).version == 2
    assert rollback(world.control, "digits", ANN).version == 1  # staged again from its bundle
    assert_consistent(world, 1)


def test_status_tells_production_versions_and_journal(world: World) -> None:
    world.register(1, 2, 3)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)

    told = status(world.control, "digits").model_dump(mode="json")

    assert (told["model"], told["champion"], told["previous"], told["challenger"]) == ("digits", 2, 1, 3)
    assert [(each["version"], each["state"]) for each in told["versions"]] == [
        (1, "previous"),
        (2, "champion"),
        (3, "challenger"),
    ]
    assert [event["serial"] for event in told["journal"]] == list(range(1, 12))
    assert told["warnings"] == [] and told["serial"] == 11
