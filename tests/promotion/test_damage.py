"""Copies, pointers, journals and registries that something other than Slipway has damaged, lost or replaced."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from promotion_world import ANN, World

from tasks.foundations.errors import DigestMismatch, InputError, Refused, SlipwayError
from tasks.journal.event import Event
from tasks.journal.journal import Journal
from tasks.promotion import known
from tasks.promotion.moves import promote, rollback
from tasks.promotion.reconcile import reconcile, reconcile_all
from tasks.promotion.registration import record_version
from tasks.promotion.status import status

FIRST = b"model.onnx of 1\n" * 1000


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.fixture
def second(world: World) -> World:
    """Version 2 in production, version 1 before it."""
    world.register(1, 2)
    for version in (1, 2):
        promote(world.control, "digits", version, ANN)
    return world


def bundled(world: World, version: int) -> Path:
    return world.home / "bundles" / world.state.digests[version] / "targets" / "cpu" / "model.onnx"


def test_a_rollback_never_points_to_a_damaged_copy(second: World) -> None:
    flip(second.folder("onnx_server", 1) / "model.onnx")

    rollback(second.control, "digits", ANN)

    assert (second.folder("onnx_server", 1) / "model.onnx").read_bytes() == FIRST
    assert second.served == {"onnx_server": 1, "tf_serving": 1}


def test_a_rollback_needs_no_whole_bundle_while_the_copies_are_whole(second: World) -> None:
    flip(bundled(second, 1))

    rollback(second.control, "digits", ANN)

    assert (second.folder("onnx_server", 1) / "model.onnx").read_bytes() == FIRST


def test_a_rollback_with_copy_and_bundle_damaged_is_refused_and_undone(second: World) -> None:
    flip(bundled(second, 1))
    flip(second.folder("onnx_server", 1) / "model.onnx")

    with pytest.raises(DigestMismatch, match=r"model\.onnx has other bytes"):
        rollback(second.control, "digits", ANN)
    assert second.served == {"onnx_server": 2, "tf_serving": 2}
    assert second.phases[-1] == "rollback 1 undone"


def test_a_version_whose_files_were_removed_comes_back_in_no_way_and_nothing_is_written(second: World) -> None:
    shutil.rmtree(second.home / "bundles" / second.state.digests[1])
    before = second.phases

    for move in (
        lambda: rollback(second.control, "digits", ANN),
        lambda: promote(second.control, "digits", 1, ANN.model_copy(update={"force": True})),
    ):
        with pytest.raises(
            Refused, match="The files of digits 1 are not there any more.* Versions that have theirs: 2"
        ):
            move()
    assert second.phases == before
    told = status(second.control, "digits")
    assert told.previous is None
    assert [each.has_files for each in told.versions] == [False, True]


def test_a_rollback_says_that_the_next_one_cannot_be(second: World) -> None:
    second.register(3)
    promote(second.control, "digits", 3, ANN)
    shutil.rmtree(second.home / "bundles" / second.state.digests[1])

    assert "cannot go to 1, whose files were removed" in rollback(second.control, "digits", ANN).message


def test_reconcile_copies_a_damaged_champion_again(second: World) -> None:
    flip(second.folder("onnx_server", 2) / "model.onnx")

    assert reconcile(second.control, "digits").done == ("onnx_server: copied version 2 again",)
    assert reconcile(second.control, "digits").done == ()


@pytest.mark.parametrize("content", ["", '{"serial": 3', "[]"])
@pytest.mark.parametrize("move", [lambda c: rollback(c, "digits", ANN), lambda c: reconcile(c, "digits")])
def test_a_pointer_that_cannot_be_read_is_written_anew(
    second: World, content: str, move: Callable[..., object]
) -> None:
    (second.home / "serving/onnx_server/digits/pointer.json").write_text(content)

    move(second.control)

    assert second.served["onnx_server"] == second.served["tf_serving"] == second.state.champion


def test_a_link_in_a_copy_is_damage_and_mended(second: World, tmp_path: Path) -> None:
    copy = second.folder("onnx_server", 1) / "model.onnx"
    copy.unlink()
    copy.symlink_to(bundled(second, 1))

    rollback(second.control, "digits", ANN)

    assert not copy.is_symlink() and copy.read_bytes() == FIRST


def test_a_move_while_status_looks_is_no_lost_journal(second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    second.register(3)
    original = known.pointers

    def overtaken(*args: object) -> object:
        monkeypatch.setattr(known, "pointers", original)
        promote(second.control, "digits", 3, ANN)
        return original(*args)

    monkeypatch.setattr(known, "pointers", overtaken)
    assert known.strangers(second.control, "digits") == []


def test_a_registry_that_does_not_answer_is_no_success(second: World) -> None:
    def dead() -> None:
        raise ConnectionError("nobody there")

    (failed,) = reconcile(replace(second.control, open_aliases=dead), "digits").failed

    assert "aliases of digits could not be set (ConnectionError: nobody there)" in failed


def tampered(world: World) -> None:
    with sa.create_engine(f"sqlite:///{world.home}/journal.db").begin() as connection:
        connection.execute(sa.text("UPDATE journal SET actor = 'mallory' WHERE model = 'cats'"))


def unreadable(world: World) -> None:
    pointer = world.home / "serving/onnx_server/cats/pointer.json"
    pointer.unlink()
    pointer.mkdir()


@pytest.mark.parametrize(("damage", "said"), [(tampered, "is broken at serial 1"), (unreadable, "Is a directory")])
def test_a_model_that_cannot_be_reconciled_does_not_keep_the_others_from_it(
    second: World, damage: Callable[[World], None], said: str
) -> None:
    record_version(second.control, "cats", 1, second.bundle(7, model="cats"), ANN)
    promote(second.control, "cats", 1, ANN)
    damage(second)
    (second.home / "serving/onnx_server/digits/pointer.json").unlink()

    repairs = reconcile_all(second.control)

    assert said in repairs["cats"].failed[0]
    assert repairs["digits"].done == ("onnx_server: pointed to version 2 again",)


@pytest.fixture
def lost(second: World) -> World:
    """Production goes on; its journal was lost, and an empty one took its place."""
    for file in second.home.glob("journal.db*"):
        file.unlink()
    second.control = replace(second.control, journal=Journal(f"sqlite:///{second.home}/journal.db"))
    return second


@pytest.mark.parametrize(
    "move",
    [
        lambda c: promote(c, "digits", 3, ANN),
        lambda c: rollback(c, "digits", ANN),
        lambda c: reconcile(c, "digits"),
    ],
)
def test_a_journal_that_is_not_that_of_what_is_served_moves_nothing(lost: World, move: Callable[..., object]) -> None:
    lost.register(3)

    with pytest.raises(
        DigestMismatch, match=r"serves version 2 of digits after move \d+, but .* ends at 1: it was lost"
    ):
        move(lost.control)
    assert lost.served == {"onnx_server": 2, "tf_serving": 2}
    assert lost.phases == []
    assert "it was lost or reset" in status(lost.control, "digits").warnings[0]


@pytest.mark.parametrize(
    "command",
    [
        lambda c: promote(c, "digits", 2, ANN),
        lambda c: rollback(c, "digits", ANN),
        lambda c: reconcile(c, "digits"),
        lambda c: status(c, "digits"),
    ],
)
def test_nobody_is_told_to_begin_a_second_history_of_what_is_served(
    lost: World, command: Callable[..., object]
) -> None:
    with pytest.raises(DigestMismatch, match=r"serves version 2 of digits .* ends at 0: it was lost") as caught:
        command(lost.control)

    assert "release" not in str(caught.value)
    with pytest.raises(InputError, match="There is no model 'cats': nothing has been registered"):
        status(lost.control, "cats")


def test_settings_that_were_possible_when_a_version_was_sealed_are_refused_in_words(second: World) -> None:
    second.settings["onnx_server"] = {"deadline_ms": 20, "batching": {"max_delay_ms": 50}}
    record_version(second.control, "digits", 3, second.bundle(3), ANN)

    with pytest.raises(
        Refused, match=r"release r1 has impossible settings of onnx_server: batching.max_delay_ms \(50\)"
    ):
        promote(second.control, "digits", 3, ANN)
    assert second.served == {"onnx_server": 2, "tf_serving": 2}


def test_a_journal_that_fails_twice_is_quoted_once(second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    second.register(3)
    original = Journal.append

    def gone(self: Journal, event: Event, expected_serial: int | None = None) -> Event:
        if event.phase == "intent":
            return original(self, event, expected_serial)
        raise SlipwayError("connection refused")

    monkeypatch.setattr(Journal, "append", gone)
    with pytest.raises(SlipwayError, match="undoing it failed for the same reason") as caught:
        promote(second.control, "digits", 3, ANN)
    assert str(caught.value).count("connection refused") == 1


def test_what_is_served_and_no_journal_knows_is_named(lost: World) -> None:
    assert "ends at 0: it was lost or reset" in reconcile_all(lost.control)["digits"].failed[0]
