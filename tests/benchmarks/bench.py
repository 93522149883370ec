"""What the sections share: folders, and runs that several of them look at. A run happens when it is first needed."""

import json
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.benchmarks.process import ROOT, Ran, run

CONFIG = ROOT / "configs" / "digits.yaml"


@dataclass(frozen=True)
class Release:
    """One release.

    Attributes:
        ran: what it cost.
        answer: what `--json` printed.
        process: what the orchestrating process was like.
        home: its installation.
    """

    ran: Ran
    answer: dict[str, Any]
    process: dict[str, Any]
    home: Path

    @property
    def waited(self) -> bool:
        """Whether its measuring queued behind that of another release, so that its wall time says little."""
        return "waiting for" in self.ran.err


@dataclass
class Bench:
    """One run of the benchmarks.

    Attributes:
        folder: empty; everything is made here.
        repeats: how often the long runs are done.
    """

    folder: Path
    repeats: int = 3
    _count: int = field(default=0)

    @cached_property
    def cold(self) -> list[tuple[Ran, Release]]:
        """Bare script and release from nothing, in turn."""
        return [(self.bare(i), self.release(CONFIG, self.folder / f"home-{i}")) for i in range(self.repeats)]

    @property
    def made(self) -> Path:
        """Folder of a bare run: plain model folders."""
        return self.folder / f"bare-{len(self.cold) - 1}"

    @property
    def released(self) -> Release:
        """A finished release."""
        return self.cold[-1][1]

    def bare(self, number: int) -> Ran:
        """One run of the bare script."""
        return run(["tests.benchmarks.bare", str(CONFIG), str(self.folder / f"bare-{number}")])

    def release(self, config: Path, home: Path) -> Release:
        """One release in an installation."""
        self._count += 1
        notes = self.folder / f"process-{self._count}.json"
        words = ["tests.benchmarks.watched", str(notes), "release", str(config), "--json"]
        ran = run(words, {"SLIPWAY_HOME": str(home)})
        return Release(ran, json.loads(ran.out), json.loads(notes.read_text()), home)

    def command(self, *words: str, home: Path | None = None) -> Ran:
        """One `python -m flows WORDS`."""
        return run(["flows", *words], {"SLIPWAY_HOME": str(home)} if home else None)


def median_wall(runs: list[Ran]) -> float:
    """Seconds."""
    return statistics.median(each.wall_s for each in runs)


def spread(runs: list[Ran]) -> str:
    """All wall times, for the note."""
    return "runs " + " ".join(f"{each.wall_s:.2f}" for each in runs)
