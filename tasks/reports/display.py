"""Progress of a release on stderr: finished steps scroll by, running ones stay below with their clock.

Where stderr is no terminal (CI, a log file) each event is one plain line, so that a log reads without escape codes.
Stdout is never touched: it belongs to `--json`.
"""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from tasks.reports import format as text

if TYPE_CHECKING:
    from rich.console import RenderableType

Key = tuple[str, str | None]


@dataclass
class _Step:
    began: float
    note: str = ""


class Display:
    """Shows stages of the release and of its candidates; every method may be called from any thread.

    Args:
        title: shown with the total time while anything runs.
        file: where to write; stderr when left out.
        live: repaint in place; left out, decided by whether `file` is a terminal.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        title: str = "",
        file: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._file = file or sys.stderr
        self._wants_live = live
        self._clock = clock
        self._lock = threading.RLock()
        self._running: dict[Key, _Step] = {}
        self._done = 0
        self._reused = 0
        # What the painting thread reads: it must never wait for our lock, because we print while holding it.
        self._shown: tuple[tuple[Key, _Step], ...] = ()
        self._began = clock()
        self._live: Any = None
        self._console: Any = None

    def __enter__(self) -> Self:
        """Open the display; the total time counts from here."""
        from rich.console import Console
        from rich.live import Live

        self._began = self._clock()
        self._console = Console(file=self._file, highlight=False)
        live = self._console.is_terminal if self._wants_live is None else self._wants_live
        if live:
            # redirect_stdout stays off: what is printed there is an answer, not progress.
            self._live = Live(
                console=self._console,
                get_renderable=self._paint,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=self._file is sys.stderr,
            )
            self._live.start()
        elif self._title:
            self._plain(f"{self._title}: started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it. Steps still running are shown as stopped, so that a log never ends in silence."""
        with self._lock:
            for stage, candidate in list(self._running):
                self.finish(stage, candidate, failed="stopped" if kind else None)
            if self._live is not None:
                self._live.stop()
                self._live = None

    def start(self, stage: str, candidate: str | None = None) -> None:
        """A step begins."""
        with self._lock:
            self._running[(stage, candidate)] = _Step(self._clock())
            self._shown = tuple(self._running.items())
            if self._live is None:
                self._plain(f"{_name(stage, candidate)}: started")

    def update(self, stage: str, candidate: str | None, text: str) -> None:
        """A word about a running step, `round 3 of 7`; not for plain logs, which want events and not their course."""
        with self._lock:
            step = self._running.setdefault((stage, candidate), _Step(self._clock()))
            if step.note == text:
                return
            step.note = text
            self._shown = tuple(self._running.items())

    def finish(self, stage: str, candidate: str | None = None, reused: bool = False, failed: str | None = None) -> None:
        """A step ended: done, reused from an earlier release, or failed for a reason."""
        with self._lock:
            step = self._running.pop((stage, candidate), None)
            self._shown = tuple(self._running.items())
            spent = self._clock() - step.began if step else 0.0
            self._done += 1
            self._reused += reused
            if self._live is None:
                self._plain(f"{_name(stage, candidate)}: {_outcome(spent, reused, failed)}")
            else:
                self._console.print(_finished(stage, candidate, _outcome(spent, reused, failed), reused, failed))

    def log(self, message: str) -> None:
        """A sentence of its own between the steps, a warning for example."""
        from rich.text import Text

        with self._lock:
            if self._live is None:
                self._plain(f"{message}")
            else:
                self._console.print(Text(f"! {message}", style="yellow"))

    def _plain(self, line: str) -> None:
        from rich.text import Text

        if self._console is None:
            raise RuntimeError("Display must be entered (with Display(...) as display) before it is used.")
        spent = text.seconds(self._clock() - self._began).replace("\u00a0", " ")
        # soft_wrap: a log line is never broken by us; one line stays one event for grep.
        self._console.print(Text(f"[{spent:>9}] {' '.join(line.split())}"), soft_wrap=True)

    def _paint(self) -> "RenderableType":
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        now, shown = self._clock(), self._shown
        rows = Table.grid(padding=(0, 1))
        for (stage, candidate), step in shown[:12]:
            rows.add_row(
                Spinner("dots", style="cyan"),
                Text(f"{stage:<18}"),
                Text(text.clip(candidate or "", 24), style="cyan"),
                Text(_time(now - step.began), style="bright_black"),
                Text(text.clip(step.note, 50), style="bright_black"),
            )
        words = [self._title, _time(now - self._began), f"{self._done} done"]
        words += [f"{self._reused} reused"] if self._reused else []
        words += [f"{len(shown) - 12} more running"] if len(shown) > 12 else []
        return Group(rows, Text("  ".join(word for word in words if word), style="bold"))


def _name(stage: str, candidate: str | None) -> str:
    return f"{stage} {candidate}" if candidate else stage


def _time(value: float) -> str:
    return f"{value:.0f} s" if value < 100 else text.seconds(value).replace("\u00a0", " ")


def _outcome(spent: float, reused: bool, failed: str | None) -> str:
    if failed is not None:
        return f"failed: {' '.join(failed.split())}"
    return "reused" if reused else f"done in {text.seconds(spent)}".replace("\u00a0", " ")


def _finished(stage: str, candidate: str | None, outcome: str, reused: bool, failed: str | None) -> Any:
    from rich.table import Table
    from rich.text import Text

    glyph, style = (
        ("\u2715", "red") if failed is not None else ("\u21ba", "bright_black") if reused else ("\u2713", "green")
    )
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(min_width=18)
    line.add_column(min_width=14)
    line.add_column(overflow="fold")
    line.add_row(
        Text(glyph, style=style),
        Text(stage),
        Text(candidate or "", style="cyan"),
        Text(outcome.removeprefix("done in "), style="red" if failed is not None else "bright_black"),
    )
    return line
