"""Promote and rollback as a person meets them."""

import pytest
from promotion_world import ANN, BOTH, World

from tasks.foundations.errors import Conflict, DigestMismatch, InputError, Refused
from tasks.promotion.control import Control, Order
from tasks.promotion.moves import promote, rollback
from tasks.promotion.publish import pointers
from tasks.promotion.registration import announce, record_version
from tasks.serving import staging
from tasks.store.digest import digest_folder

FORCED = Order(actor="ann", reason="the fix is in the clients", force=True)


def parsed_labels(world: World) -> dict[str, int]:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (world.home / "serving/tf_serving/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {each.name: each.version_labels["stable"] for each in config.model_config_list.config}


def test_a_promotion_switches_every_kind_and_leaves_its_phases(world: World) -> None:
    world.register(1)

    move = promote(world.control, "digits", 1, ANN)

    assert (move.moved, move.version, move.from_version, move.warnings) == (True, 1, None, ())
    assert world.phases == [
        f"promote 1 {phase}" for phase in ("intent", "staged", "validated", "moved", "observed", "done")
    ]
    assert [each.kind for each in move.validation] == ["onnx_server", "tf_serving"]
    assert move.servers == () and "No server is running; it will be served when one starts" in move.message
    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    assert parsed_labels(world) == {"digits": 1}
    assert world.aliases.read() == {"champion": 1}
    assert [event.actor for event in world.control.journal.verify("digits")] == ["ann"] * 7


def test_promote_a_promote_b_rollback_leaves_as_files_byte_equal(world: World) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    before = {kind: digest_folder(world.folder(kind, 1)) for kind in BOTH}
    promote(world.control, "digits", 2, ANN)
    assert world.served == {"onnx_server": 2, "tf_serving": 2}

    move = rollback(world.control, "digits", ANN)

    assert (move.moved, move.version, move.from_version) == (True, 1, 2)
    assert "nothing to go back to" in move.message
    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    assert parsed_labels(world) == {"digits": 1}
    assert world.aliases.read() == {"champion": 1}
    assert world.state.versions == {1: "champion", 2: "rolled_back"}
    for kind in BOTH:
        assert digest_folder(world.folder(kind, 1)) == before[kind] == digest_folder(world.source(kind, 1))
        assert digest_folder(world.folder(kind, 2)) == digest_folder(world.source(kind, 2))


def test_the_pointers_serial_is_that_of_the_intent_and_only_grows(world: World) -> None:
    world.register(1, 2)
    written = []
    for move in (lambda: promote(world.control, "digits", 1, ANN), lambda: promote(world.control, "digits", 2, ANN)):
        move()
        written.append(pointers(world.control, "digits")["onnx_server"])
    rollback(world.control, "digits", ANN)
    written.append(pointers(world.control, "digits")["onnx_server"])

    first, second, third = written
    assert [each.serial for each in written] == [3, 9, 15]
    assert [each.previous for each in written] == [None, 1, None]
    assert [each.previous_digest for each in written] == [None, first.digest, None]
    assert third.digest == first.digest != second.digest
    assert first.settings == {"deadline_ms": 1000.0, "queue": 64, "batching": None}


def test_promoting_the_champion_is_no_move_and_says_so(world: World) -> None:
    world.register(1)
    promote(world.control, "digits", 1, ANN)
    events = world.phases

    move = promote(world.control, "digits", 1, ANN)

    assert not move.moved
    assert "in production already" in move.message
    assert world.phases == events


def test_plain_rollback_twice_goes_back_twice(world: World) -> None:
    world.register(1, 2, 3)
    for version in (1, 2, 3):
        promote(world.control, "digits", version, ANN)

    first, second = rollback(world.control, "digits", ANN), rollback(world.control, "digits", ANN)

    assert (first.version, second.version) == (2, 1)
    assert "would go to 1" in first.message
    with pytest.raises(Refused, match="has no version before it"):
        rollback(world.control, "digits", ANN)
    assert world.served == {"onnx_server": 1, "tf_serving": 1}


def test_rollback_to_goes_deep_and_twice_is_once(world: World) -> None:
    world.register(1, 2, 3)
    for version in (1, 2, 3):
        promote(world.control, "digits", version, ANN)

    assert rollback(world.control, "digits", ANN, to=1).moved
    again = rollback(world.control, "digits", ANN, to=1)

    assert not again.moved
    assert world.state.stack == (1,)
    assert world.state.rolled_back == {2, 3}


def test_rollback_to_a_version_outside_the_history_is_refused(world: World) -> None:
    world.register(1, 2, 3)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)

    with pytest.raises(Refused, match=r"3 is not below the champion in the production history \(1\)"):
        rollback(world.control, "digits", ANN, to=3)
    with pytest.raises(InputError, match="no version 9. Known: 1, 2, 3. Did you mean 3"):
        rollback(world.control, "digits", ANN, to=9)
    assert world.state.champion == 2


def test_without_a_champion_there_is_nothing_to_roll_back(world: World) -> None:
    world.register(1)

    with pytest.raises(Refused, match="Nothing of digits is in production"):
        rollback(world.control, "digits", ANN)
    assert world.phases == []


@pytest.mark.parametrize("order", [ANN, ANN.model_copy(update={"force": True, "reason": " "})])
def test_a_popped_version_comes_back_only_with_force_and_reason(world: World, order: Order) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)
    rollback(world.control, "digits", ANN)

    with pytest.raises(Refused, match="taken out of production by a rollback"):
        promote(world.control, "digits", 2, order)
    assert world.served["onnx_server"] == 1

    assert promote(world.control, "digits", 2, FORCED).moved
    assert world.state.stack == (2, 1)
    assert world.control.journal.last("digits").reason == f"forced: {FORCED.reason}"  # type: ignore[union-attr]


def test_a_version_without_a_passing_record_comes_only_with_force_and_its_digest(world: World) -> None:
    world.register(1)
    digest = world.bundle(2)

    with pytest.raises(InputError, match="no version 2. Known: 1"):
        promote(world.control, "digits", 2, FORCED)
    with pytest.raises(Refused, match="no record of having passed"):
        promote(world.control, "digits", 2, ANN.model_copy(update={"digest": digest}))
    assert promote(world.control, "digits", 2, FORCED.model_copy(update={"digest": digest})).moved
    assert world.state.versions == {1: "challenger", 2: "champion"}


def test_an_unknown_model_lists_the_known_ones(world: World) -> None:
    with pytest.raises(InputError, match="nothing has been registered yet"):
        promote(world.control, "digits", 1, ANN)
    world.register(1)

    with pytest.raises(InputError, match="Known: digits. Did you mean digits?"):
        promote(world.control, "digts", 1, ANN)
    with pytest.raises(InputError, match="no version 7. Known: 1"):
        promote(world.control, "digits", 7, ANN)


@pytest.mark.parametrize("name", ["../digits", "a/b", ""])
def test_a_model_name_never_becomes_a_path(world: World, name: str) -> None:
    world.register(1)

    with pytest.raises(InputError):
        promote(world.control, name, 1, FORCED.model_copy(update={"digest": "d"}))
    with pytest.raises(InputError):
        record_version(world.control, name, 1, "d", ANN)


def test_a_decision_taken_before_somebody_else_moved_is_a_conflict_that_names_them(world: World) -> None:
    world.register(1, 2)
    decided = world.state.last_serial
    promote(world.control, "digits", 1, ANN.model_copy(update={"actor": "bob"}))

    with pytest.raises(Conflict, match="promote of version 1 by bob"):
        promote(world.control, "digits", 2, ANN.model_copy(update={"expected_serial": decided}))
    with pytest.raises(Conflict, match="by bob"):
        promote(world.control, "digits", 2, ANN.model_copy(update={"expected_serial": decided + 1}))
    assert world.state.champion == 1


def test_registrations_since_the_decision_are_no_conflict(world: World) -> None:
    world.register(1)
    promote(world.control, "digits", 1, ANN)
    decided = world.state.last_serial
    world.register(2, 3)

    assert promote(world.control, "digits", 3, ANN.model_copy(update={"expected_serial": decided})).moved


def test_a_request_id_is_applied_once(world: World) -> None:
    world.register(1, 2, 3)
    for version in (1, 2, 3):
        promote(world.control, "digits", version, ANN)
    retried = ANN.model_copy(update={"request_id": "r-7"})

    assert rollback(world.control, "digits", retried).moved
    assert not rollback(world.control, "digits", retried).moved

    assert world.state.champion == 2
    assert world.control.journal.last("digits").attempt == "r-7"  # type: ignore[union-attr]
    with pytest.raises(InputError, match="already stands for the rollback of version 2"):
        promote(world.control, "digits", 1, retried)


def test_a_bundle_that_was_changed_is_refused_before_anything_moves(world: World) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    (world.source("onnx_server", 2) / "model.onnx").write_bytes(b"x" * 1)

    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        promote(world.control, "digits", 2, ANN)
    assert world.served["onnx_server"] == 1
    assert world.phases[-1] == "promote 1 done"


def test_a_bundle_of_another_version_behind_the_digest_is_refused(world: World) -> None:
    world.register(1, 2)
    bundles = world.home / "bundles"
    (bundles / world.state.digests[2]).rename(bundles / "aside")
    (bundles / world.state.digests[1]).rename(bundles / world.state.digests[2])

    with pytest.raises(DigestMismatch, match="version 2 of digits was registered with"):
        promote(world.control, "digits", 2, ANN)


def test_a_journal_changed_by_hand_stops_every_move(world: World) -> None:
    import sqlite3

    world.register(1)
    with sqlite3.connect(world.home / "journal.db") as database:
        database.execute("UPDATE journal SET actor = 'mallory'")

    with pytest.raises(DigestMismatch, match="broken at serial 1"):
        promote(world.control, "digits", 1, ANN)


def test_rollback_works_without_the_disk_room_for_a_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)

    def no_copy(*_: object) -> bool:
        raise AssertionError("a rollback copied a model")

    monkeypatch.setattr(staging, "_copy", no_copy)
    assert rollback(world.control, "digits", ANN).version == 1


def test_a_version_to_go_back_to_that_is_no_longer_staged_is_staged_again(world: World) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)
    (world.folder("onnx_server", 1) / "model.onnx").unlink()
    (world.folder("onnx_server", 1)).rename(world.home / "lost")

    rollback(world.control, "digits", ANN)

    assert digest_folder(world.folder("onnx_server", 1)) == digest_folder(world.source("onnx_server", 1))


def test_a_kind_that_the_new_version_was_not_made_for_keeps_the_old_one_and_says_so(world: World) -> None:
    world.register(1).register(2, kinds=("onnx_server",))
    promote(world.control, "digits", 1, ANN)

    move = promote(world.control, "digits", 2, ANN)

    assert world.served == {"onnx_server": 2, "tf_serving": 1}
    assert any("tf_serving serves version 1" in warning for warning in move.warnings)


def test_a_rolled_back_version_is_served_by_no_kind(world: World) -> None:
    world.register(1, kinds=("onnx_server",)).register(2)
    promote(world.control, "digits", 1, ANN)
    promote(world.control, "digits", 2, ANN)
    assert world.served == {"onnx_server": 2, "tf_serving": 2}

    move = rollback(world.control, "digits", ANN)

    assert world.served == {"onnx_server": 1}
    assert parsed_labels(world) == {}
    assert any("tf_serving serves digits no more" in warning for warning in move.warnings)


def test_a_registry_that_fails_is_a_warning_and_the_move_is_made(world: World) -> None:
    world.register(1)

    def broken() -> object:
        raise ConnectionError("registry is down")

    control = Control(**{**vars(world.control), "open_aliases": broken})
    move = promote(control, "digits", 1, ANN)

    assert move.moved
    assert "registry is down" in move.warnings[0] and "reconcile" in move.warnings[0]
    assert world.served["onnx_server"] == 1


def test_the_registry_is_opened_only_after_the_servers_have_switched(world: World) -> None:
    world.register(1)
    seen = []

    def opened() -> object:
        seen.append((dict(world.served), world.phases[-1]))
        return world.aliases

    promote(Control(**{**vars(world.control), "open_aliases": opened}), "digits", 1, ANN)

    assert seen == [({"onnx_server": 1, "tf_serving": 1}, "promote 1 done")]


def test_a_registration_is_written_once_and_its_number_is_its_own(world: World) -> None:
    digest = world.bundle(1)
    first = record_version(world.control, "digits", 1, digest, ANN)

    assert record_version(world.control, "digits", 1, digest, ANN) == first
    assert len(world.control.journal.events("digits")) == 1
    with pytest.raises(Conflict, match="Versions never change"):
        record_version(world.control, "digits", 1, "0" * 64, ANN)


def test_a_challenger_gets_its_alias_and_loses_it_when_it_is_promoted(world: World) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    assert world.aliases.read() == {"champion": 1, "challenger": 2}

    world.register(3)
    assert announce(world.control, "digits") == []
    assert world.aliases.read() == {"champion": 1, "challenger": 3}

    promote(world.control, "digits", 3, ANN)
    assert world.aliases.read() == {"champion": 3}


def test_two_models_do_not_touch_each_other(world: World) -> None:
    digits = world.register(1)
    record_version(digits.control, "cats", 1, digits.bundle(5, model="cats"), ANN)

    promote(digits.control, "digits", 1, ANN)
    promote(digits.control, "cats", 1, ANN)

    assert parsed_labels(digits) == {"cats": 1, "digits": 1}
    with pytest.raises(Refused):
        rollback(digits.control, "cats", ANN)


@pytest.mark.parametrize(
    ("serving", "why"),
    [
        ({"onnx_server": "tfs"}, "the winner of target 'tfs' is savedmodel"),
        ({"tf_serving": "gpu"}, "the winner of target 'gpu' does not exist"),
    ],
)
def test_a_kind_never_serves_a_form_or_a_target_that_did_not_win(
    world: World, serving: dict[str, str], why: str
) -> None:
    world.register(1)
    promote(world.control, "digits", 1, ANN)
    record_version(world.control, "digits", 2, world.bundle(2, serving=serving), ANN)

    with pytest.raises(Refused, match=why):
        promote(world.control, "digits", 2, ANN)

    assert world.served == {"onnx_server": 1, "tf_serving": 1}
    assert world.phases[-1] == "promote 2 undone"
