"""SIGKILL at every point of a move, a full disk, rivals: `reconcile` always ends in one consistent production."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from promotion_world import ANN, FileAliases, World, die, in_child

from tasks.foundations.errors import Conflict, InputError, NotServing, SlipwayError
from tasks.journal import journal as journal_module
from tasks.journal.journal import Journal
from tasks.promotion import attempt
from tasks.promotion.moves import promote, rollback
from tasks.promotion.publish import History
from tasks.promotion.reconcile import Repairs, reconcile, retain
from tasks.promotion.status import status
from tasks.serving import pointer, staging
from tasks.serving.onnx_server import OnnxServer
from tasks.serving.tf_serving import TfServing
from tasks.store.digest import digest_folder

KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Act:
    """One journal step or side effect of a move: the function that does it, and which of its calls it is."""

    owner: Any
    name: str
    when: Callable[..., bool] = lambda *_: True


def writes(phase: str) -> Act:
    return Act(Journal, "append", lambda self, event, *_: event.phase == phase)


# In the order of a promotion of version 2; the first that shows that it can be served is `validated`.
ACTS: dict[str, Act] = {
    "intent": writes("intent"),
    "copy of a file": Act(staging, "_copy_file"),
    "name of the copy": Act(Path, "rename"),
    "copies of the first kind": Act(OnnxServer, "stage"),
    "copies of the second kind": Act(TfServing, "stage"),
    "staged": writes("staged"),
    "trial of the first kind": Act(OnnxServer, "validate"),
    "trial of the second kind": Act(TfServing, "validate"),
    "validated": writes("validated"),
    "first pointer": Act(OnnxServer, "point"),
    "second pointer's file": Act(pointer, "write", lambda base, *_: "tf_serving" in str(base)),
    "server's config": Act(TfServing, "_write_config"),
    "second pointer": Act(TfServing, "point"),
    "moved": writes("moved"),
    "question to the first kind": Act(OnnxServer, "observe"),
    "question to the second kind": Act(TfServing, "observe"),
    "observed": writes("observed"),
    "done": writes("done"),
    "alias champion": Act(FileAliases, "set_alias"),
    "alias challenger": Act(FileAliases, "delete_alias"),
}
ORDER = list(ACTS)
NOT_IN_A_ROLLBACK = {
    "copy of a file", "name of the copy", "trial of the first kind", "trial of the second kind", "validated",
}  # fmt: skip
TIMES = ("before", "after")


def arm(name: str, time: str = "before") -> Callable[[], None]:
    """Let the child be killed before or after an act."""
    act = ACTS.get(name) or writes(name)
    original = getattr(act.owner, act.name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        deadly = act.when(*args)
        if deadly and time == "before":
            die()
        answer = original(*args, **kwargs)
        if deadly:
            die()
        return answer

    return lambda: setattr(act.owner, act.name, dying)


def reached(name: str, time: str) -> int:
    """Position of the last act that was done whole."""
    return ORDER.index(name) - (time == "before")


def last_phase(name: str, time: str, phases: tuple[str, ...]) -> str:
    return next(phase for phase in reversed(phases) if ORDER.index(phase) <= reached(name, time))


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


PHASES = ("intent", "staged", "validated", "moved", "observed", "done")


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("act", ORDER)
def test_a_promotion_killed_anywhere_is_finished_or_undone(world: World, act: str, time: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    die_while(world, arm(act, time), lambda: promote(world.control, "digits", 2, ANN))

    if (act, time) != ("intent", "before"):
        assert world.phases[-1] == f"promote 2 {last_phase(act, time, PHASES)}"
    done = reconcile(world.control, "digits").done
    made = reached(act, time) >= ORDER.index("validated")
    assert_consistent(world, 2 if made else 1)
    if (act, time) == ("intent", "before"):
        assert done == ()
    else:
        assert world.phases[-1] == ("promote 2 done" if made else "promote 2 undone")
        assert reached(act, time) >= ORDER.index("done") or "that ann began" in done[0]
    assert promote(world.control, "digits", 2, ANN).moved is not made


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("act", [act for act in ORDER if act not in NOT_IN_A_ROLLBACK])
def test_a_rollback_killed_anywhere_is_finished_or_undone(world: World, act: str, time: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)

    die_while(world, arm(act, time), lambda: rollback(world.control, "digits", ANN))
    reconcile(world.control, "digits")

    assert_consistent(world, 1 if reached(act, time) >= ORDER.index("staged") else 2)


@pytest.mark.parametrize("act", ["staged", "first pointer", "moved", "observed"])
def test_the_first_promotion_killed_is_finished_or_undone(world: World, act: str) -> None:
    world.register(1)

    die_while(world, arm(act, "after"), lambda: promote(world.control, "digits", 1, ANN))
    reconcile(world.control, "digits")

    made = act != "staged"
    assert world.state.champion == (1 if made else None)
    assert world.served == ({"onnx_server": 1, "tf_serving": 1} if made else {})
    assert world.state.open_attempts == []


@pytest.mark.parametrize("act", ["copy of a file", "staged", "server's config", "moved"])
def test_the_next_move_settles_what_was_left(world: World, act: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    die_while(world, arm(act, "after"), lambda: promote(world.control, "digits", 2, ANN))

    promote(world.control, "digits", 2, ANN)

    assert world.state.stack == (2, 1)
    assert_consistent(world, 2)


@pytest.mark.parametrize("second", ORDER[ORDER.index("first pointer") : ORDER.index("alias challenger")])
def test_a_reconcile_that_is_killed_itself_can_be_run_again(world: World, second: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    die_while(world, arm("validated", "after"), lambda: promote(world.control, "digits", 2, ANN))
    die_while(world, arm(second), lambda: reconcile(world.control, "digits"))

    reconcile(world.control, "digits")

    assert_consistent(world, 2)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("second", ["first pointer", "second pointer's file", "second pointer", "undone"])
def test_an_undoing_after_the_pointers_that_is_killed_is_undone_to_its_end(
    world: World, second: str, time: str
) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    def refuse(*_: object) -> list[Any]:
        arm(second, time)()
        raise NotServing("it cannot")

    def set_up() -> None:
        OnnxServer.observe = refuse  # type: ignore[method-assign]

    die_while(world, set_up, lambda: promote(world.control, "digits", 2, ANN))
    touched = (second, time) != ("first pointer", "before")
    assert world.phases[-1] == ("promote 2 undone" if (second, time) == ("undone", "after") else "promote 2 moved")
    assert not [warning for warning in status(world.control, "digits").warnings if "lost" in warning]
    reconcile(world.control, "digits")

    # With no pointer touched yet there was nothing to undo: asking the servers again is as good.
    assert_consistent(world, 1 if touched else 2)
    assert world.state.versions[2] == ("rolled_back" if touched else "champion")


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("owner", [TfServing, OnnxServer])
def test_an_undoing_that_is_killed_is_undone_to_its_end(world: World, owner: type) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)

    def set_up() -> None:
        arm("undone")()
        original, calls = owner.point, []

        def fails_once(*args: Any) -> None:
            calls.append(1)
            if len(calls) == 1:
                _full()
            original(*args)

        owner.point = fails_once

    die_while(world, set_up, lambda: promote(world.control, "digits", 2, ANN))
    assert world.phases[-1] == "promote 2 validated"
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

    assert world.phases[-1] == "promote 2 validated"
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

    assert world.phases[-1] == "promote 2 observed"
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


ROUNDS = 50


def _rival(world: World, version: int, rounds: Any, answers: Any) -> None:
    """Promote the same version whenever a round begins; answer with how it went."""
    for decided in iter(rounds.get, None):
        order = ANN.model_copy(update={"actor": f"rival-{version}", "expected_serial": decided, "force": True})
        try:
            promote(world.control, "digits", version, order)
            answers.put((version, "won"))
        except Conflict as error:
            answers.put((version, str(error)))


def test_of_two_promotions_at_once_exactly_one_wins_and_the_other_knows_to_whom(world: World) -> None:
    fork = multiprocessing.get_context("fork")
    world.register(1, 2, 3, kinds=("onnx_server",))
    promote(world.control, "digits", 1, ANN)
    rounds, answers = {2: fork.Queue(), 3: fork.Queue()}, fork.Queue()
    rivals = [fork.Process(target=_rival, args=(world, version, rounds[version], answers)) for version in (2, 3)]
    for rival in rivals:
        rival.start()
    winners = []
    for _ in range(ROUNDS):
        for begin in rounds.values():
            begin.put(world.state.last_serial)
        outcomes = dict(answers.get(timeout=60) for _ in rivals)
        (winner,) = [version for version, outcome in outcomes.items() if outcome == "won"]
        assert f"rival-{winner}" in outcomes[5 - winner]
        assert (world.state.champion, world.state.open_attempts) == (winner, [])
        assert world.served == {"onnx_server": winner}
        winners.append(winner)
        rollback(world.control, "digits", ANN)
    for begin in rounds.values():
        begin.put(None)
    for rival in rivals:
        rival.join(60)

    moves = [phase for phase in world.phases if phase.startswith("promote") and phase.endswith("done")]
    assert moves[1:] == [f"promote {winner} done" for winner in winners]
    world.control.journal.verify("digits")


def test_a_journal_that_cannot_be_written_moves_nothing_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BUSY_SECONDS", 0)
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    before = world.phases
    other = sqlite3.connect(world.home / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    for move in (
        lambda: promote(world.control, "digits", 2, ANN),
        lambda: rollback(world.control, "digits", ANN),
    ):
        with pytest.raises(SlipwayError, match=r"cannot be (read or )?written: database is locked|no version before"):
            move()
    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    other.close()
    assert world.phases == before
    assert promote(world.control, "digits", 2, ANN).moved


@pytest.mark.parametrize("phase", PHASES)
def test_a_journal_that_goes_away_in_the_middle_leaves_something_that_reconcile_settles(
    world: World, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    original, gone = Journal.append, []

    def append(self: Journal, event: Any, *args: Any) -> Any:
        if event.phase == phase or gone:
            gone.append(1)
            raise SlipwayError("The journal cannot be written: the server closed the connection.")
        return original(self, event, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        if phase in ("observed", "done"):  # every server has answered: it is made
            assert "not closed in the journal" in promote(world.control, "digits", 2, ANN).warnings[0]
        else:
            with pytest.raises(SlipwayError, match="the server closed the connection"):
                promote(world.control, "digits", 2, ANN)

    reconcile(world.control, "digits")
    # The pointers were put back before the journal was missed once more.
    assert_consistent(world, 2 if phase in ("observed", "done") else 1)


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

    assert world.phases == [f"promote 1 {phase}" for phase in PHASES]


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
    die_while(world, arm("first pointer", "after"), lambda: rollback(world.control, "digits", order))

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
    assert [phase.split()[-1] for phase in world.phases] == ["intent", "undone", *PHASES]


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
    assert [event["serial"] for event in told["journal"]] == list(range(1, 16))
    assert told["warnings"] == [] and told["serial"] == 15
