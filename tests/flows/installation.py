"""One SLIPWAY_HOME and a folder of configs, and the real `python -m flows` in processes of its own."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "flow_models"
TINY: dict[str, Any] = {
    "name": "tiny",
    "task": {"kind": "classification", "output": "logits"},
    "model": {"kind": "keras_builder", "entrypoint": "tiny.py:build"},
    "data": {"kind": "python", "entrypoint": "tiny.py:load"},
    "training": {
        "loss": "sparse_categorical_crossentropy",
        "epochs": 2,
        "batch_size": 32,
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
    },
    "candidates": {"int8": [{"kind": "int8_static"}]},
    "targets": {"cpu": {"runtime": "onnxruntime"}},
    # No gate on latency: these claims must hold on a machine that is busy with something else.
    "gates": [{"metric": "accuracy", "max_drop": 0.15}, {"metric": "size_bytes", "max_ratio": 0.6}],
    "choose": {"minimize": "size_bytes"},
    "serving": [{"kind": "onnx_server", "target": "cpu"}],
}


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    code: int
    json: dict[str, Any]
    log: str

    @property
    def reused(self) -> dict[str, bool]:
        """`stage candidate` -> whether it was reused."""
        stages = self.json["stages"]
        return {f"{stage['name']} {stage['candidate'] or ''}".strip(): stage["reused"] for stage in stages}

    def reason(self, candidate: str, target: str = "cpu") -> str:
        """Why a candidate is what it is on a target."""
        rows = self.json["candidates"]
        return next(row["reason"] for row in rows if (row["name"], row["target"]) == (candidate, target))


@dataclass
class Running:
    """A command that still runs, with what it has said on stderr."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path
    family: set[int] = field(default_factory=set)

    def until(self, text: str, seconds: float = 240) -> None:
        """Wait until it has said something."""
        self._until(lambda: text in self.log.read_text(), f"said {text!r}", seconds)

    def until_child(self, part: str, seconds: float = 240) -> psutil.Process:
        """Wait for a process below it whose command line holds `part`."""
        found: list[psutil.Process] = []
        self._until(lambda: bool(found.extend(self._named(part)) or found), f"has no child {part!r}", seconds)
        return found[0]

    def _named(self, part: str) -> Iterator[psutil.Process]:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if part in " ".join(child.cmdline()):
                    yield child
            except psutil.NoSuchProcess:
                continue

    def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"it ended before it {what}: {self.log.read_text()}"
            assert time.monotonic() < end, f"it never {what}: {self.log.read_text()}"
            time.sleep(0.05)

    def note_family(self) -> None:
        """Remember its present descendants, to look for them when it is gone."""
        self.family |= {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def orphans(self, seconds: float = 15) -> list[str]:
        """Descendants that still live so long after it ended."""
        end = time.monotonic() + seconds
        while (left := [pid for pid in self.family if _alive(pid)]) and time.monotonic() < end:
            time.sleep(0.1)
        return [" ".join(psutil.Process(pid).cmdline()) for pid in left if _alive(pid)]

    def end(self, seconds: float = 240) -> Answer:
        """Wait for its end."""
        code = self.process.wait(seconds)
        text = self.out.read_text()
        return Answer(code, json.loads(text) if text else {}, self.log.read_text())

    def stop(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Installation:
    """A home, a folder of configs and the commands on them.

    Attributes:
        folder: where configs and the user's Python lie.
        home: SLIPWAY_HOME.
        environment: of every command.
    """

    def __init__(self, folder: Path, prefect_url: str | None = None) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self.environment |= {"SLIPWAY_HOME": str(self.home), "PYTHONPATH": str(MODELS / "site")}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if prefect_url:
            self.environment["PREFECT_API_URL"] = prefect_url
        shutil.copy(MODELS / "tiny.py", folder)
        self._count = 0

    def config(self, **changes: Any) -> str:
        """Write the tiny config with other sections; None leaves one out."""
        content = {key: value for key, value in {**TINY, **changes}.items() if value is not None}
        path = self.folder / f"{content['name']}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    def start(self, *words: str, wrapper: tuple[str, ...] = ("-m", "flows")) -> Running:
        """Start a command in a process group of its own, as a shell does."""
        self._count += 1
        out, log = (self.folder / f"{self._count}.{name}" for name in ("out", "log"))
        with out.open("w") as stdout, log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, *wrapper, *words, "--json"],
                env=self.environment,
                cwd=ROOT,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Running(process, out, log)

    def run(self, *words: str, wrapper: tuple[str, ...] = ("-m", "flows")) -> Answer:
        """Run a command to its end."""
        running = self.start(*words, wrapper=wrapper)
        try:
            return running.end()
        finally:
            running.stop()

    def release(self, *words: str, **changes: Any) -> Answer:
        """Release the tiny model with other sections in its config."""
        return self.run("release", self.config(**changes), *words)

    def status(self) -> dict[str, Any]:
        """What `status tiny` says."""
        return self.run("status", "tiny").json

    def pointer(self, kind: str = "onnx_server") -> dict[str, Any] | None:
        """What the serving folder points to."""
        path = self.home / "serving" / kind / "tiny" / "pointer.json"
        return json.loads(path.read_text()) if path.exists() else None

    def served(self, version: int, kind: str = "onnx_server") -> dict[str, str]:
        """sha256 of every file of a staged version."""
        folder = self.home / "serving" / kind / "tiny" / str(version)
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def prefect(self, what: str) -> list[dict[str, Any]]:
        """All `flow_runs`, or `artifacts/latest`, of the Prefect server."""
        request = urllib.request.Request(
            f"{self.environment['PREFECT_API_URL']}/{what}/filter",
            data=b"{}",
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            found: list[dict[str, Any]] = json.load(reply)
            return found

    def leftovers(self) -> list[str]:
        """What a command that has ended must not leave: scratch, temporary files, half a version."""
        left = [*(self.home / "store" / "scratch").glob("*"), *(self.home / "running").glob("*")]
        left += [path for path in (self.home / "serving").rglob(".*")]
        left += [path for path in (self.home / "store").rglob(".*")]
        left += [path for path in (self.home / "logs").glob(".progress-*")]
        return sorted(str(path.relative_to(self.home)) for path in left)
