"""Tells two audiences how a release goes: the terminal's display, and Prefect's log of the run for those in the UI."""

from typing import Any

from flows.diary import JsonLog, Spans
from tasks.reports.display import Display


class Observer:
    """See `tasks.execution.steps.Observer`; events go to both, the course of a stage to the display only."""

    def __init__(self, display: Display | JsonLog, spans: Spans | None = None) -> None:
        self._display = display
        self._spans = spans

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""
        self._display.start(stage, candidate)
        if self._spans:
            self._spans.start(stage, candidate)

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A stage says how far it is."""
        self._display.update(stage, candidate, text)

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A stage ended."""
        self._display.finish(stage, candidate, reused=reused, failed=failed)
        if self._spans:
            self._spans.finish(stage, candidate, reused, failed)
        name = f"{stage} {candidate}" if candidate else stage
        if failed is not None:
            write("warning", f"{name} failed: {failed}")
        else:
            write("info", f"{name} {'reused' if reused else 'done'}")

    def log(self, message: str) -> None:
        """A sentence between the stages."""
        self._display.log(message)
        write("warning", message)

    def end(self, version: int | None, decision: str, exit_code: int) -> None:
        """How the release ended: people read it in the answer."""
        if isinstance(self._display, JsonLog):
            self._display.end(version, decision, exit_code)
        if self._spans:
            self._spans.end(version, decision, exit_code)


def write(level: str, message: str) -> None:
    """A line in the log of the present flow run, if there is one."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        logger: Any = get_run_logger()
    except MissingContextError:
        return  # not inside a run: the display has said it
    getattr(logger, level)(message)
