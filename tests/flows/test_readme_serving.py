"""What the README says about serving is done here, word for word, on a real server; what it prints is compared.

Ports and folders are this test's, numbers may be others, and `release`, which takes a minute, is what it leaves.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tasks.serving._target import parse
from tests.flows.serving_world import HANG_S, ROOT, ServingWorld

README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## Serve it\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
NODE = next(text for kind, text in BLOCKS if kind == "console" and "/srv/node" in text)
PORTS = ("8080", "9000")


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Commands of a console block, each with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield re.sub(r"\s+#.*", "", command), printed


def agree(said: str, printed: str) -> bool:
    """Whether a text is what the README says, with other numbers and more where it has `...`."""
    plain = [re.sub(r"\s+", " ", re.sub(r"-?\d+(\.\d+)?", "#", text)).strip() for text in (said, printed)]
    pattern = ".*".join(re.escape(part.strip()) for part in plain[0].split("..."))
    return re.match(pattern, plain[1]) is not None


KEPT = ("plain", "logits", "over_grpc")


@dataclass
class Reader:
    """Somebody who does what the README says, in a folder of their own.

    Attributes:
        world: the home; its releases are made here.
        folder: where they type.
        ports: the README's ports -> ours.
        server: what they have left running.
        said: all that was printed, by command.
        script: their Python snippets so far.
        names: what these have found, by name.
    """

    world: ServingWorld
    folder: Path
    ports: dict[str, str]
    server: subprocess.Popen[str] | None = None
    said: dict[str, str] = field(default_factory=dict)
    script: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    released: int = 0

    def ours(self, text: str) -> str:
        """With our ports."""
        return re.sub("|".join(self.ports), lambda found: self.ports[found[0]], text)

    def type(self, command: str) -> str:
        """Do what a line says; gives what it prints."""
        if command.startswith("python -m flows release"):
            return self.release("--no-promote" in command)
        if command.startswith("python -m flows serve"):
            return self.serve(command)
        environment = {**self.world.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", self.ours(command)],
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(ROOT), "SLIPWAY_SERVER": f"http://127.0.0.1:{self.ports['8080']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, snippet: str) -> None:
        """All snippets so far, in a process of their own: NVIDIA's messages and ours have the same names."""
        self.script += self.ours(snippet)
        keep = (
            "\nfound = {name: globals()[name] for name in KEPT if name in globals()}\nnp.savez('kept.npz', **found)\n"
        )
        code = f"KEPT = {KEPT!r}\n{self.script}{keep}"
        ran = subprocess.run([sys.executable, "-c", code], cwd=self.folder, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        with np.load(self.folder / "kept.npz") as kept:
            self.names = dict(kept)

    def release(self, no_promote: bool) -> str:
        self.released += 1
        self.world.register("digits", self.released, weights=fitted(self.released))
        if not no_promote:
            self.world.promote("digits", self.released)
        return ""

    def serve(self, command: str) -> str:
        ports = ["--port", self.ports["8080"], "--grpc-port", self.ports["9000"]]
        words = [sys.executable, *shlex.split(command)[1:], *ports]
        self.server = subprocess.Popen(
            words, cwd=ROOT, env=self.world.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert self.server.stderr is not None
        for line in self.server.stderr:
            if line.startswith("Serving "):
                return line.replace(f", gRPC on 127.0.0.1:{self.ports['9000']}", "")
        raise AssertionError("it has ended")


def fitted(version: int) -> np.ndarray[Any, Any]:
    """(64, 10) of a least-squares classifier of the digits, which counts the README's twenty more than the others."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    counts = np.where(np.arange(len(labels)) < 20, 100, 1)[:, None]
    logits = version * 10.0 * np.eye(10)[labels]
    return np.linalg.lstsq(counts * pixels / 16, counts * logits, rcond=None)[0].astype(np.float32)


def free_ports() -> dict[str, str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return dict(zip(PORTS, ports, strict=True))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The whole section, from top to bottom, but the machine that only serves."""
    folder = tmp_path_factory.mktemp("reader")
    reader = Reader(ServingWorld(folder), folder, free_ports())
    try:
        for kind, text in BLOCKS:
            if kind == "console" and text != NODE:
                for command, printed in steps(text):
                    reader.said[command] = printed_now = reader.type(command)
                    assert agree(printed, printed_now), f"$ {command}\n{printed_now}\nthe README says\n{printed}"
            if kind == "python":
                reader.run(text)
        yield reader
    finally:
        if reader.server is not None:
            reader.server.terminate()
            reader.server.communicate(timeout=HANG_S)


pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="the README asks with curl"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # a snippet need not close its files
]


def test_every_block_of_the_section_is_looked_at_here():
    assert {kind for kind, _ in BLOCKS} == {
        "console",
        "python",
        "text",
        "yaml",
    }  # text: docker, which nothing here can run
    assert sum(kind == "console" for kind, _ in BLOCKS) == 4


@pytest.mark.slow
def test_all_clients_get_the_same_answer(reader):
    told = [json.loads(said) for command, said in reader.said.items() if command.startswith("curl")]
    v2, v2_second, v1, labelled = told

    logits = reader.names["logits"]
    assert logits.shape == (20, 10)
    np.testing.assert_array_equal(reader.names["over_grpc"], logits)
    np.testing.assert_allclose(v2["outputs"][0]["data"], logits.ravel(), rtol=1e-5)
    np.testing.assert_allclose(reader.names["plain"], logits.ravel(), rtol=1e-5)
    np.testing.assert_allclose(v1["predictions"], logits, rtol=1e-5)
    assert labelled == v1
    np.testing.assert_allclose(v2_second["outputs"][0]["data"], 2 * logits.ravel(), rtol=1e-3, atol=1e-3)
    assert (v2["model_version"], v2_second["model_version"]) == ("1", "2")


@pytest.mark.slow
def test_predict_reads_the_digits(reader):
    lines = (reader.folder / "answers.csv").read_text().splitlines()
    scores = [[float(value) for value in line.split(",")] for line in lines[1:]]

    assert lines[0] == ",".join(f"logits_{place}" for place in range(10))
    assert [int(np.argmax(row)) for row in scores] == [*range(10)] * 2


@pytest.mark.slow
def test_what_the_readme_lists_is_there(reader):
    ports, node = reader.ports, next((reader.world.serving / "nodes").glob("*.json"))
    admin = json.loads(node.read_text())["admin"]
    url = f"http://127.0.0.1:{ports['8080']}"
    rows = [line for line in SECTION.splitlines() if line.startswith("| `/") or line.startswith("| admin port")]
    paths = [path for row in rows for path in re.findall(r"`(/[^`]*)`", row.split("|")[1])]

    assert len(paths) == 9
    for path in paths:
        place = admin if path in ("/status", "/follow/M") else url
        method = "POST" if path.startswith("/follow") else "GET"
        request = urllib.request.Request(place + path.replace("/M", "/digits"), method=method)
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            assert answer.status == 200
    with urllib.request.urlopen(f"{url}/metrics", timeout=HANG_S) as answer:
        metrics = answer.read().decode()
    names = re.findall(r"`(slipway_\w+)`", SECTION)
    assert len(names) == 13
    assert [name for name in names if f"# TYPE {name} " not in metrics] == []
    assert {name for name in re.findall(r"# TYPE (slipway_\w+) ", metrics) if not name.endswith("_created")} == set(
        names
    )


def test_options_of_the_readme_are_options():
    (text,) = [text for kind, text in BLOCKS if kind == "yaml"]
    (entry,) = yaml.safe_load(text)["serving"]

    assert parse(entry).settings() == {
        "deadline_ms": 200,
        "queue": 64,
        "batching": {"max_size": 32, "max_delay_ms": 2},
    }


@pytest.mark.slow
def test_a_machine_that_only_serves_needs_the_folder_and_its_lock_alone(tmp_path):
    world = ServingWorld(tmp_path)
    world.register("digits", 1)
    world.promote("digits", 1)
    (tmp_path / "srv").mkdir()
    environment = {key: value for key, value in world.environment.items() if key not in ("SLIPWAY_HOME", "PYTHONPATH")}
    environment["PIP_NO_COMPILE"] = "1"

    def ours(text: str) -> str:
        mine = {"/srv": str(tmp_path / "srv"), ".slipway": str(world.home), "python3 ": f"{sys.executable} "}
        return re.sub(r"/srv|\.slipway|python3 ", lambda found: mine[found[0]], text)

    *preparing, (serving_command, _) = steps(NODE)
    for command, _ in preparing:
        subprocess.run(["bash", "-c", ours(command)], cwd=ROOT, env=environment, check=True)
    python = tmp_path / "srv" / "node" / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0].lower() for line in installed.stdout.splitlines()}
    assert not names & {"tensorflow", "mlflow", "prefect", "sqlalchemy", "onnx"} and "slipway" in names

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "rows.json").write_text(json.dumps(np.ones((3, 8, 8, 1)).tolist()))
    command = f"exec {ours(serving_command).replace('cd ', 'cd ', 1)} --port {port} --json".replace("exec cd", "cd")
    server = subprocess.Popen(
        ["bash", "-c", command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        told = json.loads(server.stdout.readline())
        asked = [python, "-m", "flows", "predict", "digits", "--input", str(tmp_path / "rows.json"), "--json"]
        done = subprocess.run(
            [*asked, "--url", told["url"]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    finally:
        os.kill(told["pid"], 15)
        log = server.communicate(timeout=HANG_S)[1]
    assert told["models"] == {"digits": 1}
    assert json.loads(done.stdout)["rows"] == 3, done.stderr
    assert server.returncode == 0, log
