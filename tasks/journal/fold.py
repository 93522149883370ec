"""What the events mean: who is champion, what lies under it, what is unfinished. Pure: events in, state out.

Production history is a stack: `moved` of a promote pushes, `moved` of a rollback pops down to its version, `undone`
after `moved` takes the push or the pop back. No other phase changes the stack.
"""

from collections.abc import Iterable
from typing import Any, Literal

from tasks.foundations.errors import SlipwayError
from tasks.foundations.record import Record
from tasks.journal.event import Event, Milestone

State = Literal["registered", "challenger", "champion", "previous", "superseded", "rolled_back"]


class Standing(Record):
    """Which of a model's versions are where.

    Attributes:
        champion: the version in production, None before the first promotion.
        previous: the version that a plain rollback goes to, None if there is none.
        challenger: the newest registered version, if it was never in production.
        digests: version -> digest of its bundle; of milestones those that were in production, and the newest.
    """

    champion: int | None
    previous: int | None
    challenger: int | None
    digests: dict[int, str]


class ModelState(Standing):
    """What a model's events add up to.

    Attributes:
        stack: versions of the production history, champion first. No two neighbours are equal.
        versions: version -> its state, see `State`, first match: `champion`; `previous`; `rolled_back` (taken out of
            production by a rollback or an undone move); `superseded` (deeper in the stack); `challenger`;
            `registered` (passed, waits, and a newer one was registered since).
        registered: versions with a passing record, in the order of registration.
        rolled_back: versions taken out of production that have not come back as champion; one of them may still lie
            deeper in the stack.
        attempts: attempt -> its last event.
        moved: the last event that changed the champion (a `moved`, or an `undone` behind one), None before the first.
        last_serial: serial of the last event, 0 without events.
    """

    stack: tuple[int, ...]
    versions: dict[int, State]
    registered: tuple[int, ...]
    rolled_back: frozenset[int]
    attempts: dict[str, Event]
    moved: Event | None
    last_serial: int

    @property
    def open_attempts(self) -> list[Event]:
        """Last event of every attempt that is neither done nor undone, oldest first."""
        unfinished = [event for event in self.attempts.values() if event.phase not in ("done", "undone")]
        return sorted(unfinished, key=lambda event: event.serial)


def fold(events: Iterable[Event]) -> ModelState:
    """Add up the events of one model, oldest first.

    Raises:
        SlipwayError: the events cannot have happened in this order (a rollback to a version outside the stack).
    """
    folding = _Folding()
    for event in events:
        folding.add(event)
    return folding.state()


def standing(milestones: Iterable[Milestone]) -> Standing:
    """Add up the milestones of one model, oldest first: as `fold` of all its events where every attempt has ended.

    Raises:
        SlipwayError: as `fold` does.
    """
    folding = _Folding()
    for milestone in milestones:
        folding.add(milestone)
    return Standing(**folding.standing())


def popped(stack: tuple[int, ...], version: int) -> tuple[int, ...]:
    """The stack after a rollback to `version`: everything above its uppermost place below the champion is gone.

    Raises:
        ValueError: the version does not lie below the champion.
    """
    return stack[1 + stack[1:].index(version) :]


class _Folding:
    """The state while events are added; never seen outside `fold`."""

    def __init__(self) -> None:
        self.stack: tuple[int, ...] = ()
        self.digests: dict[int, str] = {}
        self.registered: list[int] = []
        self.was_champion: set[int] = set()
        self.rolled_back: frozenset[int] = frozenset()
        self.attempts: dict[str, Any] = {}
        self.before: dict[str, tuple[tuple[int, ...], frozenset[int]]] = {}
        self.moved: Event | Milestone | None = None
        self.last_serial = 0

    def add(self, event: Event | Milestone) -> None:
        self.last_serial = event.serial
        self.digests[event.version] = event.digest
        self.attempts[event.attempt] = event
        if event.kind == "registered":
            if event.version not in self.registered:
                self.registered.append(event.version)
        elif event.phase == "intent":
            self.before.pop(event.attempt, None)
        elif event.phase == "moved" and event.attempt not in self.before:
            self._move(event)
        elif event.phase == "undone" and event.attempt in self.before:
            self._undo(event)

    def _move(self, event: Event | Milestone) -> None:
        self.before[event.attempt] = (self.stack, self.rolled_back)
        if event.kind == "promote":
            self._set(event, (event.version, *self.stack), self.rolled_back)
        elif event.version in self.stack[1:]:
            stack = popped(self.stack, event.version)
            self._set(event, stack, self.rolled_back | set(self.stack[: len(self.stack) - len(stack)]))
        else:
            raise SlipwayError(
                f"The journal of {event.model} cannot be read: serial {event.serial} rolls back to version "
                f"{event.version}, which is not below the champion in {list(self.stack)}. Restore it from a backup."
            )

    def _undo(self, event: Event | Milestone) -> None:
        if self.moved is None or self.moved.attempt != event.attempt:
            raise SlipwayError(
                f"The journal of {event.model} cannot be read: serial {event.serial} undoes a move that is not the "
                "last one. Restore it from a backup."
            )
        stack, rolled_back = self.before.pop(event.attempt)
        self._set(event, stack, rolled_back | {event.version} if event.kind == "promote" else rolled_back)

    def _set(self, event: Event | Milestone, stack: tuple[int, ...], rolled_back: frozenset[int]) -> None:
        self.stack = stack
        self.rolled_back = rolled_back - set(stack[:1])
        self.was_champion |= set(stack[:1])
        self.moved = event

    def standing(self) -> dict[str, Any]:
        newest = self._newest()
        return {
            "champion": self.stack[0] if self.stack else None,
            "previous": self.stack[1] if len(self.stack) > 1 else None,
            "challenger": None if newest in self.was_champion else newest,
            "digests": self.digests,
        }

    def state(self) -> ModelState:
        newest = self._newest()
        return ModelState(
            **self.standing(),
            stack=self.stack,
            versions={version: self._state_of(version, newest) for version in sorted(self.digests)},
            registered=tuple(self.registered),
            rolled_back=self.rolled_back,
            attempts=self.attempts,
            moved=self.moved,
            last_serial=self.last_serial,
        )

    def _newest(self) -> int | None:
        return self.registered[-1] if self.registered else None

    def _state_of(self, version: int, newest: int | None) -> State:
        where: dict[State, bool] = {
            "champion": self.stack[:1] == (version,),
            "previous": self.stack[1:2] == (version,),
            "rolled_back": version in self.rolled_back,
            "superseded": version in self.stack,
            "challenger": version == newest and version not in self.was_champion,
        }
        return next((state for state, holds in where.items() if holds), "registered")
