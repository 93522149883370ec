"""The overview of all models says of each what its own status says, without reading all of its journal."""

import pytest
from promotion_world import ANN, World, killed_after

from tasks.foundations.errors import Refused
from tasks.promotion.moves import promote, rollback
from tasks.promotion.overview import overviews
from tasks.promotion.status import status
from tasks.serving.onnx_server import OnnxServer

SAME = ("champion", "previous", "challenger", "servers", "serial")


def agrees(world: World) -> dict[str, object]:
    """The overview of the one model, once it is found to say what its status says."""
    (found,) = overviews(world.control, [])
    whole = status(world.control, "digits", [])
    assert {name: getattr(found, name) for name in SAME} == {name: getattr(whole, name) for name in SAME}
    assert set(found.warnings) == set(whole.warnings)
    assert found.versions == len(whole.versions)
    return found.model_dump()


def test_it_follows_registrations_promotions_and_rollbacks(world: World) -> None:
    assert overviews(world.control, []) == []
    world.register(1, 2, 3)
    assert agrees(world)["challenger"] == 3
    for version in (1, 2):
        promote(world.control, "digits", version, ANN)
    assert (agrees(world)["champion"], agrees(world)["previous"]) == (2, 1)
    rollback(world.control, "digits", ANN)
    assert (agrees(world)["champion"], agrees(world)["previous"]) == (1, None)


@pytest.mark.parametrize("phase", ["intent", "staged", "moved", "observed"])
def test_it_sees_a_move_that_was_killed(world: World, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    killed_after(monkeypatch, phase, lambda: promote(world.control, "digits", 2, ANN))

    (warning,) = agrees(world)["warnings"]
    assert f"is at `{phase}`" in warning


def test_it_says_why_a_challenger_was_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.register(1)

    def refused(self, root, model, version, payload):
        raise Refused(f"Version {version} of {model} gets no traffic: too slow")

    monkeypatch.setattr(OnnxServer, "validate", refused)
    with pytest.raises(Refused):
        promote(world.control, "digits", 1, ANN)

    assert "too slow" in agrees(world)["warnings"][0]


def test_it_notices_a_journal_that_is_not_that_of_what_is_served(world: World) -> None:
    world.register(1, 2)
    for version in (1, 2):
        promote(world.control, "digits", version, ANN)
    with world.control.journal._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE serial > 5")

    assert any("ends at 5" in warning for warning in agrees(world)["warnings"])
