"""The stack of production, and what else the events add up to."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.foundations.errors import SlipwayError
from tasks.journal.event import Event
from tasks.journal.fold import ModelState, fold, popped

PHASES = ("intent", "staged", "moved", "done")


class History:
    """Builds events as promotion writes them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: str, phase: str, version: int, attempt: str) -> None:
        fields: dict[str, Any] = {"kind": kind, "phase": phase, "version": version, "attempt": attempt}
        rest = {"model": "digits", "digest": f"d{version}", "actor": "ann", "reason": "why"}
        self.events.append(Event.model_validate({**fields, **rest, "serial": len(self.events) + 1}))

    def register(self, *versions: int) -> "History":
        for version in versions:
            self.add("registered", "done", version, f"registered-{version}")
        return self

    def move(self, kind: str, version: int, *phases: str) -> "History":
        attempt = f"attempt-{len(self.events)}"
        for phase in phases or PHASES:
            self.add(kind, phase, version, attempt)
        return self

    @property
    def state(self) -> ModelState:
        return fold(self.events)


def test_without_events_nothing_is_in_production() -> None:
    state = fold([])

    assert (state.champion, state.previous, state.challenger, state.stack, state.versions) == (None, None, None, (), {})
    assert state.last_serial == 0 and state.open_attempts == [] and state.moved is None


def test_promote_pushes_and_rollback_pops() -> None:
    history = History().register(1, 2, 3).move("promote", 1).move("promote", 2).move("promote", 3)
    assert history.state.stack == (3, 2, 1)
    assert history.state.previous == 2

    history.move("rollback", 2)
    assert history.state.stack == (2, 1)
    assert history.state.versions == {1: "previous", 2: "champion", 3: "rolled_back"}


def test_rollback_to_a_deeper_version_pops_everything_above_it() -> None:
    history = History().register(1, 2, 3).move("promote", 1).move("promote", 2).move("promote", 3).move("rollback", 1)

    assert history.state.stack == (1,)
    assert history.state.rolled_back == {2, 3}


def test_a_version_is_challenger_only_while_it_is_the_newest_and_never_was_champion() -> None:
    history = History().register(1, 2)
    assert history.state.versions == {1: "registered", 2: "challenger"}
    assert history.state.challenger == 2

    history.move("promote", 2)
    assert history.state.versions == {1: "registered", 2: "champion"}
    assert history.state.challenger is None

    history.register(3).move("promote", 3).move("rollback", 2)
    assert history.state.versions[3] == "rolled_back"
    assert history.state.challenger is None


def test_versions_deep_in_the_stack_are_superseded() -> None:
    history = History().register(1, 2, 3).move("promote", 1).move("promote", 2).move("promote", 3)

    assert history.state.versions == {1: "superseded", 2: "previous", 3: "champion"}


@pytest.mark.parametrize("phases", [("intent",), ("intent", "staged"), ("intent", "staged", "validated")])
def test_before_moved_nothing_changes_and_the_attempt_is_open(phases: tuple[str, ...]) -> None:
    history = History().register(1, 2).move("promote", 1).move("promote", 2, *phases)

    assert history.state.champion == 1
    assert [event.phase for event in history.state.open_attempts] == [phases[-1]]
    assert history.state.moved is not None and history.state.moved.version == 1


def test_moved_is_what_changes_the_champion_and_done_only_closes() -> None:
    history = History().register(1).move("promote", 1, "intent", "staged", "moved")
    assert history.state.champion == 1
    assert [event.phase for event in history.state.open_attempts] == ["moved"]

    history.add("promote", "done", 1, history.events[-1].attempt)
    assert history.state.champion == 1
    assert history.state.open_attempts == []


def test_an_attempt_undone_before_it_moved_leaves_no_trace_in_production() -> None:
    history = History().register(1, 2).move("promote", 1).move("promote", 2, "intent", "staged", "undone")

    assert history.state.stack == (1,)
    assert history.state.versions[2] == "challenger"
    assert history.state.open_attempts == []


def test_a_promotion_undone_after_it_moved_counts_as_rolled_back() -> None:
    history = History().register(1, 2).move("promote", 1).move("promote", 2, *PHASES[:3], "undone")

    assert history.state.stack == (1,)
    assert history.state.versions[2] == "rolled_back"
    assert history.state.moved is not None and history.state.moved.phase == "undone"


def test_a_rollback_undone_after_it_moved_restores_the_stack_and_every_state() -> None:
    history = History().register(1, 2, 3).move("promote", 1).move("promote", 2).move("promote", 3)
    before = history.state
    history.move("rollback", 1, *PHASES[:3], "undone")

    assert history.state.stack == before.stack
    assert history.state.versions == before.versions


def test_a_version_that_came_back_by_force_is_no_longer_rolled_back() -> None:
    history = History().register(1, 2).move("promote", 1).move("promote", 2).move("rollback", 1).move("promote", 2)

    assert history.state.stack == (2, 1)
    assert history.state.rolled_back == frozenset()


def test_a_request_id_tried_again_after_it_was_undone_moves_once() -> None:
    history = History().register(1)
    for phase in ("intent", "undone", "intent", "staged", "moved", "moved", "done"):
        history.add("promote", phase, 1, "request-7")

    assert history.state.stack == (1,)
    assert history.state.attempts["request-7"].phase == "done"


def test_a_rollback_to_a_version_outside_the_stack_is_refused_with_its_serial() -> None:
    with pytest.raises(SlipwayError, match=r"serial 8 rolls back to version 9"):
        _ = History().register(1).move("promote", 1).move("rollback", 9).state


Step = tuple[str, int]
MOVES = st.lists(st.tuples(st.sampled_from(["promote", "rollback", "undone_promote", "open"]), st.integers(1, 5)))


def _play(steps: list[Step]) -> tuple[History, tuple[int, ...]]:
    """Events of legal moves, and the stack that a plain list gives for them."""
    history, stack = History().register(1, 2, 3, 4, 5), []
    for what, version in steps:
        if what == "promote" and stack[:1] != [version]:
            history.move("promote", version)
            stack.insert(0, version)
        elif what == "rollback" and version in stack[1:]:
            history.move("rollback", version)
            stack = stack[stack.index(version, 1) :]
        elif what == "undone_promote" and stack[:1] != [version]:
            history.move("promote", version, "intent", "staged", "moved", "undone")
        elif what == "open":
            history.move("promote", version, "intent", "staged")
    return history, tuple(stack)


@given(MOVES)
def test_the_fold_is_the_stack_whatever_the_moves(steps: list[Step]) -> None:
    history, stack = _play(steps)
    state = history.state

    assert state.stack == stack
    assert all(upper != lower for upper, lower in itertools.pairwise(stack))
    assert state.last_serial == len(history.events)
    assert list(state.versions.values()).count("champion") == (1 if stack else 0)
    assert list(state.versions.values()).count("previous") == (1 if len(stack) > 1 else 0)
    assert state.champion not in state.rolled_back


@given(MOVES, st.integers(1, 5))
def test_a_promote_and_a_rollback_cancel_out(steps: list[Step], version: int) -> None:
    history, stack = _play(steps)
    if not stack or stack[0] == version:
        return
    history.move("promote", version)
    history.move("rollback", stack[0])

    assert history.state.stack == stack
    assert version in history.state.rolled_back


@given(st.lists(st.integers(1, 4), min_size=2, unique=True))
def test_popping_goes_to_the_version_and_keeps_what_is_below(stack: list[int]) -> None:
    for depth, version in enumerate(stack[1:], start=1):
        assert popped(tuple(stack), version) == tuple(stack[depth:])
