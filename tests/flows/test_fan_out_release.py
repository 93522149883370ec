"""A release whose candidates are made on a Dask cluster: the same answer as on one machine, also when a worker dies."""

import signal

import pytest
from distributed import Client

from tests.flows.dask_world import DaskWorld, dask_world
from tests.flows.full_prefect import until
from tests.flows.installation import Installation

pytestmark = pytest.mark.slow

ONE = {"cpu": {"runtime": "onnxruntime"}}
TARGETS = {**ONE, "tfs": {"runtime": "tensorflow"}}
CANDIDATES = {
    "int8": [{"kind": "int8_static"}],
    "pruned": [{"kind": "pruning", "sparsity": 0.5, "epochs": 1}],
    "student": [{"kind": "distillation", "student": "tiny.py:build", "epochs": 1}],
}
GATES = [{"metric": "accuracy", "max_drop": 0.3}]
HERE = ("build", "read", "train", "open registry", "score", "measure", "judge", "pack", "register", "attach")


@pytest.fixture(scope="module")
def installation(tmp_path_factory, prefect_url):
    found = Installation(tmp_path_factory.mktemp("here"), prefect_url)
    found.environment["SLIPWAY_STORE_URL"] = str(found.folder / "store")
    return found


@pytest.fixture(scope="module")
def world(installation):
    with dask_world(installation.folder) as made:
        made.worker()
        made.worker()
        yield made


def on(world: DaskWorld, **changes):
    execution = {"runner": "dask", "address": world.address, "machine_wait_s": 5}
    return {"targets": TARGETS, "candidates": CANDIDATES, "gates": GATES, "execution": execution, **changes}


def told(world: DaskWorld, release: str) -> set[str]:
    """Stages that workers have said they are at, `predict cpu int8`."""
    with Client(world.address, set_as_default=False) as client:
        events = [event for _, event in client.get_events(f"slipway-{release}")]
    return {f"{event['stage']} {event['candidate']}" for event in events}


@pytest.fixture(scope="module")
def released(world, installation):
    return installation.release(**on(world))


def test_its_candidates_are_made_on_the_workers_and_judged_here(released, world, installation):
    assert (released.code, released.json["promoted"]) == (0, True), released.log
    rows = {(row["name"], row["target"]): row for row in released.json["candidates"]}
    assert all(rows[name, target]["passed"] for name in ("float32", "pruned", "student") for target in TARGETS), rows
    assert "Candidates are made on 2 Dask workers, 2 steps at once." in released.log
    stages = {f"{stage['name']} {stage['candidate'] or ''}".strip() for stage in released.json["stages"]}
    assert told(world, released.json["release"]) == {name for name in stages if not name.startswith(HERE)}
    assert all(f"{released.json['release']}.log" in worker.logs() for worker in world.workers)


def test_it_finds_what_a_release_without_a_cluster_has_made_and_the_other_way_round(released, installation):
    again = installation.release("--no-promote", targets=ONE, candidates=CANDIDATES, gates=GATES)

    assert again.code == 0, again.log
    assert {name for name, reused in again.reused.items() if not reused and not name.startswith(HERE)} == set()


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(released, world, installation):
    doomed = world.worker()
    changes = {"seed": 1, "name": "killed", "serving": None, "targets": ONE}
    running = installation.start("release", installation.config(**on(world, **changes)))
    try:
        until(doomed.logs, "it gets no step", 120)
        doomed.kill()
        answer = running.end()
    finally:
        running.stop()

    assert answer.code == 0, answer.log
    assert "Candidates are made on 3 Dask workers" in answer.log
    assert all(row["passed"] for row in answer.json["candidates"] if row["name"] != "int8"), answer.json["candidates"]


@pytest.mark.parametrize(("kill", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_release_that_is_interrupted_or_killed_leaves_nothing_on_the_workers(
    released, world, installation, kill, code
):
    first = world.workers[0]
    before = first.logs()
    changes = {"seed": 2, "name": "interrupted", "serving": None, "targets": ONE}
    running = installation.start("release", installation.config(**on(world, **changes)))
    try:
        until(lambda: first.logs() - before, "it gets no step", 120)
        jobs = first.jobs()
        running.process.send_signal(kill)
        answer = running.end()
    finally:
        running.stop()

    assert jobs and answer.code == code, answer.log
    until(lambda: not any(job.is_running() for job in jobs), "steps run on", 20)


def test_a_worker_that_is_not_fit_is_said_and_nothing_begins(released, world, installation):
    unfit = world.worker(DASK_DISTRIBUTED__WORKER__DAEMON="True")
    try:
        answer = installation.release(**on(world, name="unfit", serving=None))
    finally:
        unfit.kill()

    assert answer.code == 1
    assert "Start it with DASK_DISTRIBUTED__WORKER__DAEMON=False" in answer.json["error"]
    assert "Traceback" not in answer.log and not (installation.home / "releases" / "unfit").exists()


def test_a_scheduler_that_goes_away_ends_the_release_with_one_sentence(installation, tmp_path):
    with dask_world(tmp_path, SLIPWAY_STORE_URL=installation.environment["SLIPWAY_STORE_URL"]) as world:
        worker = world.worker()
        changes = {"seed": 3, "name": "cut-off", "serving": None, "targets": ONE, "candidates": {}}
        running = installation.start("release", installation.config(**on(world, **changes)))
        try:
            until(worker.logs, "it gets no step", 120)
            world.scheduler.kill()
            answer = running.end()
        finally:
            running.stop()

    assert answer.code == 1, answer.log
    assert f"the Dask scheduler at {world.address} does not answer any more" in answer.log
    assert "Candidates are made on 1 Dask worker, 1 step at once." in answer.log
    assert "Traceback" not in answer.log and "distributed." not in answer.log, answer.log
