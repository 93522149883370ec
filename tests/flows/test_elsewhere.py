"""A target whose machine is another one: another worker, another home, the store and nothing else in common."""

import json
import os
import platform
import signal
from pathlib import Path

import psutil
import pytest

from tests.flows.full_prefect import PREFECT, full_server, process, until
from tests.flows.installation import Installation

pytestmark = pytest.mark.slow("another machine")

TARGETS = {"cpu": {"runtime": "onnxruntime"}, "edge": {"runtime": "onnxruntime", "threads": 2, "work_pool": "edge"}}
GATES = [{"metric": "accuracy", "max_drop": 0.15}, {"metric": "accuracy", "max_drop": 0.3, "against": "champion"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with full_server(tmp_path_factory.mktemp("full-prefect")) as running:
        yield running


@pytest.fixture(scope="module")
def installation(tmp_path_factory, server):
    """Where releases run."""
    found = Installation(tmp_path_factory.mktemp("here"), server.api)
    found.environment["SLIPWAY_STORE_URL"] = str(found.folder / "shared")
    return found


def machine(server, installation: Installation, pool: str, **environment: str):
    """A worker as it runs on another machine: none of the user's code, nothing of the release's home."""
    folder = installation.folder / f"machine-{pool}"
    folder.mkdir(exist_ok=True)
    words = [str(PREFECT), "worker", "start", "--pool", pool, "--type", "process"]
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = sys.modules['mlflow'] = None\n")
    variables = server.environment | {
        "PYTHONPATH": str(folder),
        "PREFECT_API_URL": server.api,
        "SLIPWAY_HOME": str(folder / "home"),
        "SLIPWAY_STORE_URL": installation.environment["SLIPWAY_STORE_URL"],
    }
    return process(words, variables | environment, folder / "worker.log")


@pytest.fixture(scope="module")
def released(server, installation):
    leave_a_slot_taken(server)
    with machine(server, installation, "edge"):
        yield installation.release(targets=TARGETS, gates=GATES)


def leave_a_slot_taken(server):
    """What a restart of Prefect's server leaves of a measurement: its lease is forgotten, its slot is not."""
    limit = f"slipway-measure-{platform.node()}"
    server.call("/v2/concurrency_limits/", {"name": limit, "limit": 1, "active": True})
    server.call("/v2/concurrency_limits/increment", {"names": [limit], "slots": 1, "mode": "concurrency"})


def summary(answer):
    return json.loads((Path(answer.json["report"]).parent / "release.json").read_text())


def test_each_target_is_judged_from_its_own_machine(released, installation, server):
    assert (released.code, released.json["promoted"]) == (0, True), released.log
    assert set(released.json["winners"]) == {"cpu", "edge"}
    rows = {(row["name"], row["target"]): row for row in released.json["candidates"]}
    assert all(row["passed"] and row["p50_ms"] and row["accuracy"] for row in rows.values())
    targets = summary(released)["targets"]
    assert targets["edge"]["environment"]["cpu"] and targets["edge"]["rounds"] >= 5
    (run,) = server.runs(name={"like_": "hardware"})
    assert run["state_type"] == "COMPLETED" and run["parent_task_run_id"]


def test_the_machine_needs_neither_tensorflow_nor_the_journal_nor_the_registry(released, installation):
    """The first and the last cannot be imported there."""
    home = installation.folder / "machine-edge" / "home"

    assert released.code == 0
    assert not (home / "journal.db").exists() and not (home / "mlflow").exists()


def test_the_champion_is_predicted_there_too(released, installation, server):
    with machine(server, installation, "edge"):
        again = installation.release("--no-promote", targets=TARGETS, gates=GATES, seed=5)

    assert again.code == 0, again.log
    edge = [row for row in again.json["candidates"] if row["target"] == "edge"]
    against = [each for row in edge for each in row["verdicts"] if each["against"] == "champion"]
    assert len(against) == len(edge) and all(each["n"] for each in against), against


def test_without_a_worker_the_target_fails_in_bounded_time(installation, server):
    targets = {"cpu": {"runtime": "onnxruntime"}, "gpu": {"runtime": "onnxruntime", "work_pool": "nobody"}}

    answer = installation.release(targets=targets, execution={"machine_wait_s": 2}, name="alone")

    assert answer.code == 1, answer.log
    assert "no worker of the work pool 'nobody' has taken the work within" in answer.reason("float32", "gpu")
    assert answer.reason("float32", "cpu") != answer.reason("float32", "gpu")
    (run,) = [run for run in server.runs() if run["work_pool_name"] == "nobody"]
    assert run["state_type"] == "CRASHED"


def test_a_machine_that_dies_in_the_middle_is_noticed(installation, server):
    targets = {"dying": {"runtime": "onnxruntime", "work_pool": "dying"}}
    config = installation.config(targets=targets, execution={"machine_wait_s": 15}, name="orphan", serving=None)
    with machine(server, installation, "dying") as worker:
        release = installation.start("release", config)
        try:
            until(lambda: list((installation.folder / "machine-dying" / "home").rglob("*.log")), "no run there", 120)
            for each in [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]:
                os.kill(each.pid, signal.SIGKILL)
            answer = release.end()
        finally:
            release.stop()
    assert answer.code == 1, answer.log
    assert "its machine has been silent for" in answer.reason("float32", "dying")
    assert installation.run("status", "orphan").code == 2  # nothing of it was registered


def test_what_a_machine_has_finished_is_reused_when_it_is_back(installation, server):
    """The release whose machine died, once more."""
    targets = {"dying": {"runtime": "onnxruntime", "work_pool": "dying"}}
    with machine(server, installation, "dying"):
        answer = installation.release(targets=targets, execution={"machine_wait_s": 15}, name="orphan", serving=None)

    assert answer.code == 0, answer.log
    assert all(reused for stage, reused in answer.reused.items() if stage.startswith(("train", "convert")))


def test_a_machine_with_another_store_says_so(installation, server):
    targets = {"lost": {"runtime": "onnxruntime", "work_pool": "lost"}}
    with machine(server, installation, "lost", SLIPWAY_STORE_URL=str(installation.folder / "other-store")):
        answer = installation.release(targets=targets, execution={"machine_wait_s": 60}, name="lost", serving=None)

    assert answer.code == 1, answer.log
    assert "has no order" in answer.reason("float32", "lost")
