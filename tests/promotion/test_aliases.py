"""The registry follows the journal without holding up anybody who moves the model."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from promotion_world import ANN, FileAliases, World, die, in_child

from tasks.foundations.errors import Conflict
from tasks.promotion import attempt
from tasks.promotion.aliases import align
from tasks.promotion.control import Control
from tasks.promotion.moves import promote, rollback
from tasks.promotion.reconcile import reconcile
from tasks.promotion.registration import announce, record_version
from tasks.promotion.settle import settle_all


@pytest.fixture
def first(world: World) -> World:
    """Version 1 in production, version 2 waits."""
    world.register(1, 2)
    promote(world.control, "digits", 1, ANN)
    return world


@pytest.mark.parametrize(
    "command",
    [
        lambda c: promote(c, "digits", 2, ANN),
        lambda c: promote(c, "digits", 1, ANN),
        lambda c: reconcile(c, "digits"),
        lambda c: settle_all(c),
        lambda c: announce(c, "digits"),
    ],
)
def test_the_model_can_be_moved_while_the_registry_is_asked(first: World, command: Callable[[Control], object]) -> None:
    def killed() -> None:
        attempt.observe = lambda *_: die()
        promote(first.control, "digits", 2, ANN)

    found: list[str] = []

    def opened() -> FileAliases:
        try:
            with first.control.exclusive("digits", "bob's rollback"):
                found.append("free")
        except Conflict:
            found.append("held")
        return first.aliases

    in_child(killed)
    command(replace(first.control, open_aliases=opened))

    assert set(found) == {"free"}
    assert first.aliases.read()["champion"] == first.state.champion


def test_a_move_that_came_while_aliases_were_set_has_the_last_word(first: World) -> None:
    promote(first.control, "digits", 2, ANN)

    class Slow(FileAliases):
        def set_alias(self, model: str, alias: str, version: int) -> None:
            if not moved:
                moved.append(rollback(first.control, "digits", ANN))
                record_version(first.control, "digits", 3, first.bundle(3), ANN)
            super().set_alias(model, alias, version)

    moved: list[object] = []
    assert align(replace(first.control, open_aliases=lambda: Slow(first.aliases.path)), "digits") == []

    assert first.aliases.read() == {"champion": 1, "challenger": 3}
