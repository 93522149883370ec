from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.execution.settings import Execution
from tasks.execution.steps import Executor, Step
from tasks.foundations.errors import StepFailed
from tasks.foundations.worker_process import WorkerSettings
from tasks.foundations.workers import Workers
from tasks.store.store import Store
from tests.execution.step_jobs import Order

JOBS = "tests.execution.step_jobs"


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.finished: list[tuple[str, str | None, bool, str | None]] = []

    def start(self, stage, candidate=None): ...

    def update(self, stage, candidate, text): ...

    def log(self, message): ...

    def finish(self, stage, candidate=None, reused=False, failed=None):
        self.finished.append((stage, candidate, reused, failed))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    log = tmp_path_factory.mktemp("steps") / "worker.log"
    with Workers(WorkerSettings(count=1, threads=1, log=str(log))) as pool:
        yield pool


@pytest.fixture
def executor(workers, tmp_path):
    return Executor(Store(str(tmp_path / "store"), tmp_path), workers, Told(), seed=0, step_timeout_s=60)


def step(job="write", **changes) -> Step:
    fields = {"name": "s", "job": f"{JOBS}:{job}", "format": "test", "inputs": {}, "settings": {}, "rooms": ("store",)}
    return Step(**{**fields, "kind": "plain", **changes})


def produce(executor, tmp_path, what, text="1"):
    return executor.produce(what, lambda _, out: Order(out=str(out), counter=str(tmp_path / "runs"), text=text))


def runs(tmp_path) -> int:
    path = tmp_path / "runs"
    return len(path.read_text()) if path.exists() else 0


def test_the_same_step_runs_once_and_is_told_as_reused(executor, tmp_path):
    first, second = (produce(executor, tmp_path, step()) for _ in range(2))

    assert first == second
    assert runs(tmp_path) == 1
    assert [told[2] for told in executor.observer.finished] == [False, True]


@pytest.mark.parametrize(
    "change", [{"settings": {"a": 1}}, {"user_sources": "x"}, {"cpu": "x"}, {"rooms": ("store", "journal")}]
)
def test_a_step_with_anything_else_in_its_key_runs_again(executor, tmp_path, change):
    produce(executor, tmp_path, step())
    produce(executor, tmp_path, step(**change))

    assert runs(tmp_path) == 2


def test_a_step_that_always_runs_gives_the_same_artifact_for_the_same_content(executor, tmp_path):
    first, second = (produce(executor, tmp_path, step(always=True)) for _ in range(2))

    assert runs(tmp_path) == 2
    assert first.digest == second.digest


def test_a_step_begun_before_its_turn_runs_once_and_its_outcome_is_shared(executor, tmp_path):
    what = step(always=True, once=True)
    with ThreadPoolExecutor() as threads:
        early, in_turn = [threads.submit(produce, executor, tmp_path, what) for _ in range(2)]

    assert early.result() == in_turn.result()
    assert runs(tmp_path) == 1
    assert len(executor.stages) == 1


def test_a_step_that_failed_before_its_turn_fails_in_its_turn_for_the_same_reason(executor, tmp_path):
    for _ in range(2):
        with pytest.raises(StepFailed, match="half-way"):
            produce(executor, tmp_path, step("fail", once=True))

    assert runs(tmp_path) == 1


def test_a_failure_is_told_and_never_remembered_and_leaves_nothing(executor, tmp_path):
    for _ in range(2):
        with pytest.raises(StepFailed, match="half-way"):
            produce(executor, tmp_path, step("fail"))

    assert runs(tmp_path) == 2
    assert executor.stages[0].failed == "half-way"
    assert not list((tmp_path / "store").glob("objects/*/*"))
    assert not list((tmp_path / "store" / "scratch").iterdir())


def test_digests_of_made_and_of_reused_artifacts_are_kept(executor, tmp_path):
    artifact = produce(executor, tmp_path, step())
    executor.digests.clear()
    produce(executor, tmp_path, step())

    assert executor.digests == {artifact.digest}


def test_workers_share_the_cores():
    settings = Execution().worker_settings(candidates=1, log="x")

    assert settings.count == 1
    assert Execution(workers=3).worker_settings(candidates=1, log="x").count == 3
