"""The images: made of the locks alone, small, without what they do not need; and the serving one really serves."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.flows.serving_world import ServingWorld, digits

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 450_000_000
BUILD_S = 1200
READY_S = 60
FILES = {name: (ROOT / "docker" / f"Dockerfile.{name}").read_text() for name in ("serve", "pipeline")}


def pins(lock: str) -> dict[str, str]:
    """Package -> version, of a lock."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_an_image_installs_only_what_its_lock_pins_by_hash(name):
    installs = re.findall(r"pip .*?install.*?(?=&&|\Z)", FILES[name].replace("\\\n", " "), re.DOTALL)

    assert len(installs) == 1 and "apt-get" not in FILES[name]
    assert "--require-hashes --no-deps --only-binary :all:" in installs[0]
    assert f"requirements-{name}.lock" in installs[0]


@pytest.mark.parametrize("name", FILES)
def test_dependencies_are_a_layer_before_the_code(name):
    steps = (f"COPY requirements-{name}.lock", "COPY pyproject.toml", "COPY flows", "USER 10001:10001")
    order = [FILES[name].index(step) for step in steps]

    assert order == sorted(order)


def test_the_images_have_the_versions_that_the_tests_run_with():
    everything, pipeline, serve = (pins(f"requirements{part}.lock") for part in ("", "-pipeline", "-serve"))

    assert len(serve) > 15 and serve.items() <= pipeline.items() <= everything.items()
    assert {"tensorflow", "prefect", "mlflow", "psycopg", "flask-wtf"} <= set(pipeline)
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & set(pipeline)
    assert not {"tensorflow", "prefect", "mlflow"} & set(serve)


def test_nothing_but_what_the_images_are_made_of_is_sent_to_a_build():
    first, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    sent = {line.removeprefix("!") for line in rest if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*) \S+$", "".join(FILES.values()), re.MULTILINE)
    copied = {word for line in lines for word in line.split()}

    assert first == "*" and sent == copied


def buildah(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, timeout=BUILD_S)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def serve_container() -> Iterator[str]:
    """A container of the serving image, built here; the image stays, as the cache of the next build."""
    if not shutil.which("buildah") or os.geteuid():
        pytest.skip("images are built with buildah, as root")
    base = re.findall(r"^ARG BASE=(.*)$", FILES["serve"], re.MULTILINE)[0]
    if subprocess.run(["buildah", "inspect", "--type", "image", base], capture_output=True).returncode:
        pytest.skip(f"{base} is not here; tests/docker/make-base-image makes a stand-in")
    buildah(
        "bud", "--format", "docker", "--isolation", "chroot", "--layers", "--pull=never", "--network", "host",
        "-f", str(ROOT / "docker" / "Dockerfile.serve"), "-t", "slipway-serve:test", str(ROOT),
    )  # fmt: skip
    container = buildah("from", "--pull=never", "slipway-serve:test")
    yield container
    buildah("rm", container)


@pytest.mark.slow
def test_the_serving_image_is_small(serve_container):
    mounted = Path(buildah("mount", serve_container))
    used = int(subprocess.check_output(["du", "-sb", mounted], text=True).split()[0])

    assert used <= LARGEST_BYTES, f"{used / 1e6:.0f} MB"


@pytest.mark.slow
def test_the_serving_image_has_no_tensorflow_no_prefect_and_no_secrets(serve_container):
    heavy = ("tensorflow", "prefect", "mlflow", "pip")
    script = f"import importlib.util as u; print([name for name in {heavy} if u.find_spec(name)])"
    mounted = Path(buildah("mount", serve_container))

    assert buildah("run", "--isolation", "chroot", serve_container, "python", "-c", script) == "[]"
    assert buildah("run", "--isolation", "chroot", serve_container, "id", "-u") == "10001"
    assert {path.name for path in (mounted / "app").iterdir()} == {"flows", "tasks"}
    sources = list((mounted / "app").rglob("*.py"))
    assert [path for path in sources if not list(path.parent.glob(f"__pycache__/{path.stem}.*"))] == []


@pytest.mark.slow
def test_the_serving_image_serves(serve_container, tmp_path):
    world = ServingWorld(tmp_path)
    world.register("digits", 1)
    world.promote("digits", 1)
    for path in [world.serving, *world.serving.rglob("*")]:
        os.chown(path, 10001, 10001)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "buildah", "run", "--isolation", "chroot", "--volume", f"{world.serving}:/var/lib/slipway/serving",
        serve_container, "python", "-m", "flows", "serve", "--port", str(port),
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/v2/health/ready", process, tmp_path / "log")
        body = json.dumps({"instances": digits(1).tolist()}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/digits:predict", body, timeout=10) as answer:
            assert np.shape(json.load(answer)["predictions"]) == (1, 10)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=READY_S)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the answer is 200."""
    deadline = time.monotonic() + READY_S
    while not is_ready(url):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Whether the answer is 200."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
