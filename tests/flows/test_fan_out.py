"""Steps on the workers of a Dask cluster: what travels, what comes back, and what if machines do not do well."""

import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed.comm import CommClosedError

from flows.fan_out import dispatch_of
from flows.fitness import facts
from flows.home import Home
from flows.site import Assignment, carry_out
from flows.storage import open_store
from tasks.execution.cluster import Cluster
from tasks.execution.settings import Execution
from tasks.execution.steps import Executor, Step
from tasks.foundations.errors import NotApplicable, SlipwayError, StepFailed, TimedOut, WorkerKilled
from tasks.foundations.worker_process import WorkerSettings
from tasks.foundations.workers import Workers
from tasks.store.store import Store
from tests.flows import site_jobs
from tests.flows.dask_world import dask_world
from tests.flows.full_prefect import until
from tests.flows.installation import ROOT
from tests.flows.proxied_artifacts import proxied_artifacts
from tests.flows.site_jobs import Errand

JOBS = "tests.flows.site_jobs"


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, bool]] = []
        self.said: list[str] = []

    def start(self, stage, candidate=None): ...

    def update(self, stage, candidate, text):
        self.said.append(f"{stage} {candidate}: {text}")

    def finish(self, stage, candidate=None, reused=False, failed=None):
        self.finished.append((stage, reused))

    def log(self, message):
        self.said.append(message)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with dask_world(tmp_path_factory.mktemp("dask")) as made:
        yield made


@pytest.fixture(scope="module")
def pair(world):
    """Two workers that stay."""
    return [world.worker(), world.worker()]


@contextmanager
def executing(world, *, release="r", step_timeout_s=60.0, store=None, **execution):
    """An executor as a release has it."""
    store = store or Store(world.store, world.folder / "here")
    settings = WorkerSettings(count=1, threads=1, log=str(world.folder / "here.log"))
    fields = {"runner": "dask", "address": world.address, "step_timeout_s": step_timeout_s, **execution}
    told, found = Told(), Execution.model_validate(fields)
    with Workers(settings) as workers, dispatch_of(found, store, told, release=release, seed=0) as carrier:
        yield Executor(store, workers, told, seed=0, step_timeout_s=step_timeout_s, carrier=carrier)


def produce(executor, notes, job="write", *, travels=True, source=None, **fields):
    step = Step(
        name="s",
        job=f"{JOBS}:{job}",
        format="test",
        inputs={"source": source} if source else {},
        settings={"notes": str(notes), **fields},
        rooms=("store",),
        candidate=fields.get("text", "1"),
        kind="plain",
        travels=travels,
    )

    def request(store: Store, out: Path) -> Errand:
        folder = str(store.path(source.digest)) if source else None
        return Errand(out=str(out), notes=str(notes), source=folder, **fields)

    return executor.produce(step, request)


@pytest.fixture
def proxied(monkeypatch):
    """Environment of a store that MLflow's server passes on."""
    with proxied_artifacts() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield environment


def notes_of(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.glob("[!.]*")] if folder.is_dir() else []


def test_a_step_that_travels_runs_there_and_its_folder_comes_through_the_store(world, pair, tmp_path):
    with executing(world) as executor:
        there = produce(executor, tmp_path / "there", text="there", wait_s=1)
        here = produce(executor, tmp_path / "here", text="here", travels=False)

    (far,), (near,) = notes_of(tmp_path / "there"), notes_of(tmp_path / "here")
    assert far["home"] in {str(worker.home) for worker in pair} and near["home"] not in {str(w.home) for w in pair}
    assert (executor.store.path(there.digest) / "file").read_text() == "there"
    assert (executor.store.path(here.digest) / "file").read_text() == "here"
    assert "Candidates are made on 2 Dask workers, 2 steps at once." in executor.observer.said
    assert "s there: writing" in executor.observer.said
    assert any(said.startswith("s there: on tcp://127.0.0.1:") for said in executor.observer.said)


@pytest.mark.slow
def test_no_disk_need_be_shared(proxied, tmp_path):
    """What a step here has made is read by one there, and the other way round."""
    with dask_world(tmp_path, **proxied) as world:
        worker = world.worker()
        store = open_store(Home(tmp_path / "here"))
        with executing(world, store=store) as executor:
            here = produce(executor, tmp_path / "n", text="a", travels=False)
            there = produce(executor, tmp_path / "n", text="b", source=here)
            last = produce(executor, tmp_path / "n", text="c", travels=False, source=there)

        assert (store.path(last.digest) / "file").read_text() == "abc"
        assert str(worker.home) in {note["home"] for note in notes_of(tmp_path / "n")}
        assert list((worker.home / "store" / "objects").glob(f"*/{here.digest}"))  # fetched there
        assert not list((tmp_path / "here" / "scratch").glob("*"))


def test_a_worker_that_joins_later_and_is_not_fit_fails_its_steps(tmp_path):
    step = Step("s", f"{JOBS}:write", "test", {}, {}, ("store",))
    wanted = facts().model_copy(update={"processor": "z80"})
    assignment = Assignment("r", step, lambda _, out: Errand(out=str(out), notes=""), 0, 60, None, wanted)

    with pytest.raises(StepFailed, match=r"is not like the machine of the release: processor \S+, here z80\."):
        carry_out(assignment)


def test_a_step_that_was_made_before_does_not_leave_the_machine(world, pair, tmp_path):
    with executing(world) as executor:
        first, second = (produce(executor, tmp_path / "n") for _ in range(2))

    assert first == second
    assert len(notes_of(tmp_path / "n")) == 1
    assert executor.observer.finished == [("s", False), ("s", True)]


def test_every_worker_has_its_share(world, pair, tmp_path):
    """Four jobs that end only when two of them run at once."""
    with executing(world) as executor, ThreadPoolExecutor() as threads:
        asked = [
            threads.submit(produce, executor, tmp_path / "n", "meet", text=str(each), together=2) for each in range(4)
        ]
        made = {each.result().digest for each in asked}

    assert len(made) == 4
    assert {note["home"] for note in notes_of(tmp_path / "n")} == {str(worker.home) for worker in pair}


@pytest.mark.parametrize(
    ("job", "error", "says"),
    [
        ("fail", StepFailed, "half-way"),
        ("refuse", NotApplicable, "nothing to change in this model"),
        ("die", WorkerKilled, r"the worker process of die died \(SIGKILL"),
        ("hang", TimedOut, "hang ran longer than its limit of 1.5 s"),
    ],
)
def test_a_failure_there_is_the_same_failure_here(world, pair, tmp_path, job, error, says):
    with executing(world, step_timeout_s=1.5, release=job) as executor, pytest.raises(error, match=says) as raised:
        produce(executor, tmp_path / "n", job)

    assert type(raised.value) is error
    assert executor.observer.finished == [("s", False)]


def test_at_the_barrier_nothing_of_the_release_is_left_there(world, pair, tmp_path):
    with executing(world, release="barrier") as executor:
        produce(executor, tmp_path / "n")
        (note,) = notes_of(tmp_path / "n")
        assert psutil.pid_exists(note["pid"])  # it waits for the next step
        executor.rest("keras3", "legacy")
        assert not psutil.pid_exists(note["pid"])


def test_a_release_that_ends_takes_its_steps_with_it(world, pair, tmp_path):
    with executing(world, release="ended") as executor, ThreadPoolExecutor() as threads:
        asked = threads.submit(produce, executor, tmp_path / "n", "hang")
        until(lambda: notes_of(tmp_path / "n"), "the job does not begin", 30)
        executor.end()
        with pytest.raises(StepFailed, match="the release is ending"):
            asked.result(30)
        with pytest.raises(StepFailed, match="the release was ending"):
            produce(executor, tmp_path / "n", "write")

    (note,) = notes_of(tmp_path / "n")
    until(lambda: not psutil.pid_exists(note["pid"]), "the job runs on", 20)
    until(lambda: not list((Path(world.store) / "scratch").glob("*")), "folders are left", 20)


@pytest.mark.slow("lost worker")
def test_the_work_of_a_worker_that_is_killed_is_done_by_another(tmp_path):
    with dask_world(tmp_path) as world, executing_first(world, tmp_path) as (executor, doomed, asked):
        doomed.kill()
        world.worker()
        artifact = asked.result(60)

    begun = notes_of(tmp_path / "n")
    assert len({note["home"] for note in begun}) == len(begun) == 2
    assert (executor.store.path(artifact.digest) / "file").read_text() == "1"
    left = next(note["pid"] for note in begun if note["home"] == str(doomed.home))
    until(lambda: not psutil.pid_exists(left), "what the killed worker had begun runs on", 20)


@pytest.mark.slow
def test_a_step_that_costs_every_worker_its_life_fails_for_that_reason(tmp_path):
    with (
        dask_world(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as world,
        executing_first(world, tmp_path) as (_, doomed, asked),
    ):
        doomed.kill()
        with pytest.raises(WorkerKilled, match="workers of the Dask cluster were lost while they did it, 1 one after"):
            asked.result(60)


@pytest.mark.slow
def test_a_cluster_that_stays_without_workers_fails_the_step_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.execution.cluster.LOOK_S", 0.5)
    with dask_world(tmp_path) as world, executing_first(world, tmp_path, 1.0) as (_, doomed, asked):
        doomed.kill()
        with pytest.raises(StepFailed, match="has had no worker for 1 s"):
            asked.result(60)


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_named(tmp_path):
    with dask_world(tmp_path) as world, executing_first(world, tmp_path) as (_, _, asked):
        world.scheduler.kill()
        with pytest.raises(StepFailed, match=f"the Dask scheduler at {world.address} does not answer any more"):
            asked.result(120)


def test_a_function_that_runs_into_a_timeout_of_its_own_has_failed(world, pair):
    """It is not the timeout of who waits for it."""
    with Cluster(world.address, "t", 60) as cluster, pytest.raises(StepFailed, match="TimeoutError: the disk is slow"):
        cluster.call(site_jobs.run_into_a_timeout)


def test_a_look_that_the_network_cuts_off_is_as_good_as_no_worker(world, pair, monkeypatch):
    def cut_off(self):
        raise CommClosedError("in <TCP ...>")

    monkeypatch.setattr("tasks.execution.cluster.LOOK_S", 0.1)
    monkeypatch.setattr("tasks.execution.cluster.POLL_S", 0.1)
    monkeypatch.setattr(Cluster, "slots", cut_off)
    with Cluster(world.address, "t", 0.3) as cluster, pytest.raises(StepFailed, match="has had no worker for 0 s"):
        cluster.call(time.sleep, 30)


@contextmanager
def executing_first(world, tmp_path, machine_wait_s=60.0):
    """An executor, its only worker, and a step that this one has begun."""
    worker = world.worker()
    with ThreadPoolExecutor() as threads, executing(world, machine_wait_s=machine_wait_s) as executor:
        asked = threads.submit(produce, executor, tmp_path / "n", "meet", together=2)
        until(lambda: notes_of(tmp_path / "n"), "the job does not begin", 30)
        yield executor, worker, asked


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DASK_DISTRIBUTED__WORKER__DAEMON": "True"}, "Start it with DASK_DISTRIBUTED__WORKER__DAEMON=False"),
        ({"SLIPWAY_STORE_URL": "/nowhere-else"}, "its store /nowhere-else is not the release's. Let SLIPWAY_STORE_URL"),
    ],
)
def test_a_worker_that_is_not_fit_is_refused_before_anything_is_begun(world, pair, environment, says):
    extra = world.worker(**environment)
    try:
        with pytest.raises(SlipwayError, match="1 of 3 workers of the Dask cluster at .* cannot make") as raised:
            executing(world).__enter__()
    finally:
        extra.kill()
    assert says in str(raised.value) and "Nothing was started" in str(raised.value)


def test_a_worker_with_other_source_is_refused(world, pair, tmp_path):
    for room in ("flows", "tasks", "tests"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "goldens"))
    (tmp_path / "tasks" / "techniques" / "short_mantissa.py").write_text('"""One more."""\n')
    extra = world.worker("--no-nanny", PYTHONPATH=str(tmp_path))
    try:
        with pytest.raises(SlipwayError, match=r"it is not like this machine: Slipway's source \w{12}, here \w{12}\."):
            executing(world).__enter__()
    finally:
        extra.kill()


@pytest.mark.slow
def test_a_worker_whose_files_have_changed_since_its_start_is_refused(tmp_path):
    for room in ("flows", "tasks", "tests"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "goldens"))
    with dask_world(tmp_path) as world:
        world.worker(PYTHONPATH=str(tmp_path))
        with executing(world):
            pass
        (tmp_path / "tasks" / "techniques" / "short_mantissa.py").write_text('"""One more."""\n')
        with pytest.raises(
            SlipwayError, match=r"has changed since it was started \(Slipway's source .*\)\. Restart it"
        ):
            executing(world).__enter__()


def test_a_worker_without_slipway_is_refused(world, pair, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['flows'] = None\n")
    extra = world.worker("--no-nanny", PYTHONPATH=str(tmp_path))
    try:
        with pytest.raises(SlipwayError, match=r"it cannot run Slipway \(.*flows.*\)\. Install the release's version"):
            executing(world).__enter__()
    finally:
        extra.kill()


@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.execution.cluster.LOOK_S", 0.5)
    with dask_world(tmp_path) as world, pytest.raises(SlipwayError, match="has had no worker for 1 s"):
        executing(world, machine_wait_s=1.0).__enter__()


def test_without_a_scheduler_it_says_where_none_was(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.execution.cluster.CONNECT_S", 0.5)
    execution = Execution(runner="dask", address="tcp://127.0.0.1:9")
    with pytest.raises(SlipwayError, match="No Dask scheduler answers at tcp://127.0.0.1:9"):
        dispatch_of(execution, Store(str(tmp_path), tmp_path), Told(), release="r", seed=0).__enter__()


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    execution = Execution(runner="dask", address="tcp://127.0.0.1:9")
    with pytest.raises(SlipwayError, match="Install Slipway with its extra `dask`"):
        dispatch_of(execution, Store(str(tmp_path), tmp_path), Told(), release="r", seed=0).__enter__()


@pytest.mark.parametrize(
    ("section", "says"),
    [({"runner": "dask"}, "needs the scheduler's address"), ({"address": "tcp://x:1"}, "is for runner: dask")],
)
def test_an_address_belongs_to_a_cluster(section, says):
    with pytest.raises(ValueError, match=says):
        Execution.model_validate(section)
