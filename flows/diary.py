"""What a release leaves for machines to read while it goes: lines of JSON instead of the display, and spans.

`SLIPWAY_LOG_FORMAT=json` asks for the former, `OTEL_EXPORTER_OTLP_ENDPOINT` for the latter.
"""

import os
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tasks.foundations.errors import InputError
from tasks.foundations.json_lines import FORMAT, line
from tasks.foundations.tracing import Traces

if TYPE_CHECKING:
    from tasks.reports.display import Display

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wants_json() -> bool:
    """Whether logs are to be lines of JSON.

    Raises:
        InputError: the variable says neither `text` nor `json`.
    """
    word = os.environ.get(FORMAT) or "text"
    if word not in ("text", "json"):
        raise InputError(f"{FORMAT} is {word!r}. Expected text or json.")
    return word == "json"


def wants_traces() -> bool:
    """Whether spans are to be sent."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def open_display(what: str, run: str, model: str) -> "AbstractContextManager[Display | JsonLog]":
    """What stands on stderr: the display for people, or lines of JSON."""
    from tasks.reports.display import Display

    return JsonLog(run, model) if wants_json() else Display(f"{what} {model}")


class JsonLog:
    """As `tasks.reports.display.Display`; one line of JSON an event, with run, model and candidate."""

    def __init__(self, run: str, model: str) -> None:
        self._run, self._model = run, model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A stage begins."""
        self._write("info", "started", stage=stage, candidate=candidate)

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """How far it is, which only people want to see."""

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A stage ended."""
        message = f"failed: {failed}" if failed is not None else "reused" if reused else "done"
        self._write("warning" if failed is not None else "info", message, stage=stage, candidate=candidate)

    def log(self, message: str) -> None:
        """A sentence between the stages."""
        self._write("warning", message)

    def end(self, version: int | None, decision: str, exit_code: int) -> None:
        """How it ended."""
        self._write("error" if exit_code else "info", decision, version=version, event="ended")

    def _write(self, level: str, message: str, **fields: Any) -> None:
        print(line(level, message, {"run": self._run, "model": self._model, **fields}), file=sys.stderr, flush=True)  # noqa: T201


class Spans:
    """A span for the release, and one below it for every stage; nothing where nobody collects them.

    Args:
        run: id of the release.
        model: its model.
    """

    def __init__(self, run: str, model: str) -> None:
        self._traces: Traces | None = None
        self._open: dict[tuple[str, str | None], Any] = {}
        self._attributes = {"slipway.run": run, "slipway.model": model}
        if wants_traces():
            self._traces = Traces("slipway-release")
            self._root = self._traces.tracer.start_span(f"release {model}", attributes=self._attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._traces is None:
            return
        for span in (*self._open.values(), self._root):
            if error is not None:
                _fail(span, str(error) or type(error).__name__)
            span.end()
        self._traces.close()

    def start(self, stage: str, candidate: str | None) -> None:
        """A stage begins."""
        if self._traces is None:
            return
        from opentelemetry.trace import set_span_in_context

        attributes = {**self._attributes, **({"slipway.candidate": candidate} if candidate else {})}
        context = set_span_in_context(self._root)
        self._open[stage, candidate] = self._traces.tracer.start_span(stage, context=context, attributes=attributes)

    def finish(self, stage: str, candidate: str | None, reused: bool, failed: str | None) -> None:
        """A stage ended."""
        span = self._open.pop((stage, candidate), None)
        if span is None:
            return
        span.set_attribute("slipway.reused", reused)
        if failed is not None:
            _fail(span, failed)
        span.end()

    def end(self, version: int | None, decision: str, exit_code: int) -> None:
        """How the release ended."""
        if self._traces is None:
            return
        self._root.set_attribute("slipway.decision", decision)
        self._root.set_attribute("slipway.exit_code", exit_code)
        if version is not None:
            self._root.set_attribute("slipway.version", version)
        if exit_code:
            _fail(self._root, decision)


def _fail(span: Any, reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, reason))
