"""What the sections share: folders, and runs that several of them look at. A run happens when it is first needed."""

import itertools
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
    def wall_s(self) -> float:
        """Wall time less what its measuring queued behind other releases of the machine, as its progress told."""
        told = [(_seconds(line), line) for line in self.ran.err.splitlines() if line.startswith("[")]
        pairs = itertools.pairwise(told)
        return self.ran.wall_s - sum(after - at for (at, line), (after, _) in pairs if ": waiting for " in line)


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


def _seconds(line: str) -> float:
    """`[1 min 04 s] ...` or `[   7.5 s] ...`."""
    minutes, _, seconds = line[1:].partition(" s]")[0].rpartition(" min ")
    return 60 * float(minutes or 0) + float(seconds)


def median_wall(runs: list[Ran]) -> float:
    """Seconds."""
    return statistics.median(each.wall_s for each in runs)


def spread(runs: list[Ran]) -> str:
    """All wall times, for the note."""
    return "runs " + " ".join(f"{each.wall_s:.2f}" for each in runs)
