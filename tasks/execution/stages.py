"""How the stages of a release are told while they go, and what is kept of each for the report."""

import time
from typing import Protocol

from tasks.foundations.record import Record


class Observer(Protocol):
    """Who is told how a release goes: the terminal's live display, or a log."""

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A stage says how far it is."""

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A stage ended."""

    def log(self, message: str) -> None:
        """A sentence between the stages."""


class StageRun(Record):
    """One stage as it went: for the report."""

    name: str
    candidate: str | None = None
    seconds: float
    reused: bool = False
    failed: str | None = None


class Clock:
    """Time since a stage began, and whether it was reused."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.reused = False

    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.began
