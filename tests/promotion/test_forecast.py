"""`--dry-run` says what a move or a reconciliation would do, refuses what it would refuse, and changes nothing."""

import pytest
from promotion_world import ANN, World, killed_after

from tasks.foundations.errors import DigestMismatch, InputError, Refused
from tasks.promotion.forecast import forecast_promote, forecast_reconcile, forecast_rollback
from tasks.promotion.moves import promote, rollback
from tasks.promotion.reconcile import reconcile
from tasks.store.digest import digest_folder


@pytest.fixture
def second(world: World) -> World:
    """Version 2 in production, version 1 before it, version 3 waits."""
    world.register(1, 2, 3)
    for version in (1, 2):
        promote(world.control, "digits", version, ANN)
    return world


def everything(world: World) -> object:
    return world.phases, digest_folder(world.home / "serving"), world.aliases.read()


def test_a_promotion_is_foretold(second: World) -> None:
    before = everything(second)

    found = forecast_promote(second.control, "digits", 3, ANN)

    assert everything(second) == before
    assert (found.version, found.from_version, found.would_move, found.warnings) == (3, 2, True, ())
    assert "digits 3 would take the place of version 2, on onnx_server, tf_serving" in found.message


def test_what_is_in_production_would_not_move(second: World) -> None:
    assert not forecast_promote(second.control, "digits", 2, ANN).would_move
    assert not forecast_rollback(second.control, "digits", 2).would_move


def test_a_rollback_is_foretold(second: World) -> None:
    before = everything(second)

    found = forecast_rollback(second.control, "digits")

    assert everything(second) == before
    assert (found.version, found.from_version, found.would_move) == (1, 2, True)


def test_what_would_be_refused_is_refused(second: World) -> None:
    with pytest.raises(InputError, match="no version 7"):
        forecast_promote(second.control, "digits", 7, ANN)
    with pytest.raises(InputError, match="no model"):
        forecast_rollback(second.control, "faces")
    with pytest.raises(Refused, match="not below the champion"):
        forecast_rollback(second.control, "digits", 3)


def test_a_version_that_was_rolled_back_needs_force(second: World) -> None:
    rollback(second.control, "digits", ANN)

    with pytest.raises(Refused, match="was taken out of production"):
        forecast_promote(second.control, "digits", 2, ANN)
    assert forecast_promote(second.control, "digits", 2, ANN.model_copy(update={"force": True})).would_move


def test_a_damaged_bundle_is_found_before_it_is_promoted(second: World) -> None:
    (second.source("onnx_server", 3) / "model.onnx").write_bytes(b"other")

    with pytest.raises(DigestMismatch):
        forecast_promote(second.control, "digits", 3, ANN)


def test_nothing_is_foretold_where_all_is_in_order(second: World) -> None:
    assert forecast_reconcile(second.control) == {"digits": []}


def test_reconcile_does_what_was_foretold(second: World) -> None:
    (second.folder("onnx_server", 2) / "model.onnx").write_bytes(b"other")
    (second.home / "serving" / "tf_serving" / "digits" / "pointer.json").unlink()
    before = everything(second)

    found = forecast_reconcile(second.control, "digits")["digits"]

    assert everything(second) == before
    assert found == [
        "onnx_server: the copy of version 2 is missing or damaged and would be made again",
        "tf_serving: points to nothing and would be pointed to version 2",
    ]
    reconcile(second.control, "digits")
    assert forecast_reconcile(second.control, "digits") == {"digits": []}


@pytest.mark.parametrize(("phase", "end"), [("intent", "undone"), ("moved", "finished")])
def test_what_a_killed_move_would_become(second: World, monkeypatch, phase: str, end: str) -> None:
    killed_after(monkeypatch, phase, lambda: promote(second.control, "digits", 3, ANN))

    (sentence,) = forecast_reconcile(second.control, "digits")["digits"]
    assert f"the promote of version 3 that ann began stopped after `{phase}`" in sentence and end in sentence
    foretold = forecast_rollback(second.control, "digits").warnings
    assert foretold == (sentence,)
