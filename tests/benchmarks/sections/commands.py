"""Commands that people wait for, each as a whole process: roll back, status, help, check."""

import shutil
import time
from pathlib import Path

import psutil

from tests.benchmarks.bench import CONFIG, Bench, median_wall, spread
from tests.benchmarks.process import Ran
from tests.benchmarks.table import Row

TIMES = 5


def rows(bench: Bench) -> list[Row]:
    """Medians of five."""
    home = bench.released.home
    second = bench.release(other_config(bench.folder), home)
    if second.answer["version"] == bench.released.answer["version"]:
        raise RuntimeError("the second release made no new version")
    moves, shows = [], []
    for _ in range(TIMES):
        shows.append(bench.command("status", "digits", "--json", home=home))
        moves.append(bench.command("rollback", "digits", "--reason", "benchmark", home=home))
        settle()
        version = str(second.answer["version"])
        bench.command("promote", "digits", version, "--force", "--reason", "benchmark", home=home)
        settle()
    helps = [bench.command("--help") for _ in range(TIMES)]
    checks = [bench.command("check", str(CONFIG)) for _ in range(TIMES)]
    return [
        _row("rollback (s)", moves, 1),
        _row("status (s)", shows, 1),
        _row("--help (s)", helps, 0.5),
        _row("check (s)", checks, 2),
    ]


def _row(name: str, runs: list[Ran], at_most: float) -> Row:
    return Row(name, median_wall(runs), at_most=at_most, note=spread(runs))


def other_config(folder: Path) -> Path:
    """The same model served in one place less: another version, of which every stage is reused."""
    out = folder / "other"
    out.mkdir()
    shutil.copy(CONFIG.with_suffix(".py"), out)
    lines = CONFIG.read_text().splitlines(keepends=True)
    path = out / CONFIG.name
    path.write_text("".join(line for line in lines if "tf_serving" not in line))
    return path


def settle() -> None:
    """Wait until MLflow's aliases have followed the move in the background."""
    while any("flows.follow" in " ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])):
        time.sleep(0.2)
