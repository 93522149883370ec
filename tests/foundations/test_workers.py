import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.foundations import worker_process
from tasks.foundations import workers as foundations_workers
from tasks.foundations.errors import InputError, StepFailed, TimedOut, WorkerKilled
from tasks.foundations.worker_process import WorkerSettings
from tasks.foundations.workers import Workers
from tests.foundations import worker_jobs
from tests.foundations.worker_jobs import Number

JOBS = "tests.foundations.worker_jobs"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    log = tmp_path_factory.mktemp("workers") / "worker.log"
    with Workers(WorkerSettings(count=2, threads=1, memory_limit_bytes=16 << 30, log=str(log))) as pool:
        yield pool


def test_a_job_returns_its_record_and_tells_its_progress(workers):
    said = []

    answer = workers.run(f"{JOBS}:double", Number(value=21), kind="plain", on_progress=said.append)

    assert answer == Number(value=42)
    assert said == ["doubling"]


def test_a_killed_worker_costs_only_its_own_job(workers):
    with pytest.raises(WorkerKilled, match="SIGKILL"):
        workers.run(f"{JOBS}:die", Number(), kind="plain")

    assert workers.run(f"{JOBS}:double", Number(value=1), kind="plain") == Number(value=2)


def test_a_worker_that_leaves_as_if_all_were_well_costs_only_its_own_job(workers):
    with pytest.raises(WorkerKilled, match="leave ended .exit code 0. before it answered"):
        workers.run(f"{JOBS}:leave", Number(), kind="plain", timeout_s=60)

    assert workers.run(f"{JOBS}:double", Number(value=1), kind="plain") == Number(value=2)


def test_a_job_that_never_ends_is_stopped_at_its_limit(workers):
    with pytest.raises(TimedOut, match="limit of 0.5 s"):
        workers.run(f"{JOBS}:hang", Number(), kind="plain", timeout_s=0.5)

    assert workers.run(f"{JOBS}:double", Number(value=1), kind="plain") == Number(value=2)


def test_running_out_of_memory_is_a_failed_step(workers):
    with pytest.raises(StepFailed, match="out of memory"):
        workers.run(f"{JOBS}:eat", Number(), kind="plain")


def test_an_error_for_the_user_arrives_as_it_was_raised(workers):
    with pytest.raises(InputError, match="label 7"):
        workers.run(f"{JOBS}:refuse", Number(), kind="plain")


def test_an_exception_of_a_library_is_one_sentence_and_its_traceback_goes_to_the_log(workers):
    with pytest.raises(StepFailed, match="KeyError: .some library's surprise"):
        workers.run(f"{JOBS}:fail", Number(), kind="plain")

    assert "Traceback" in Path(workers.settings.log).read_text()


def test_every_job_starts_from_the_same_seed(workers):
    draws = [workers.run(f"{JOBS}:draw", Number(), kind="plain", seed=seed).value for seed in (3, 3, 4)]

    assert draws[0] == draws[1] != draws[2]


def test_legacy_workers_see_tf_keras_and_keras3_workers_do_not(workers):
    assert workers.run(f"{JOBS}:environment", Number(), kind="legacy").value == 1
    assert workers.run(f"{JOBS}:environment", Number(), kind="keras3").value == 0


@pytest.fixture
def several(tmp_path, monkeypatch):
    """Up to two processes, like those of jobs with TensorFlow but without its import."""
    monkeypatch.setattr(worker_process, "initialize", worker_jobs.no_setup)
    with Workers(WorkerSettings(count=2, threads=1, log=str(tmp_path / "worker.log"))) as pool:
        yield pool


def pids(pool, jobs):
    with ThreadPoolExecutor(jobs) as threads:
        asked = [threads.submit(pool.run, f"{JOBS}:pause", Number(value=0.2)) for _ in range(jobs)]
        return {job.result().value for job in asked}


def test_short_jobs_share_one_warm_process(several):
    assert len(pids(several, 4)) == 1


def test_a_second_process_starts_when_a_job_has_waited_as_long_as_a_start_takes(several, monkeypatch):
    monkeypatch.setattr(foundations_workers, "START_S", 0.1)

    assert len(pids(several, 6)) == 2


def test_a_process_that_cannot_start_costs_its_own_job(several, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILED_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(worker_process, "initialize", worker_jobs.fail_once)

    with pytest.raises(WorkerKilled, match="did not start"):
        several.run(f"{JOBS}:pid", Number())

    assert several.run(f"{JOBS}:pid", Number()).value > 0


def test_a_process_that_could_not_start_ahead_of_its_job_is_told_to_the_job(several, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILED_MARK", str(tmp_path / "mark"))
    monkeypatch.setattr(worker_process, "initialize", worker_jobs.fail_once)
    several.warm()
    (process,) = several._all["keras3"]
    while process.active:
        time.sleep(0.01)

    with pytest.raises(WorkerKilled, match="did not start; .*worker.log says why"):
        several.run(f"{JOBS}:pid", Number())

    assert several.run(f"{JOBS}:pid", Number()).value > 0


def test_closing_one_kind_leaves_the_processes_of_another(workers):
    plain = workers.run(f"{JOBS}:pid", Number(), kind="plain")

    workers.close("keras3", "legacy")

    assert workers.run(f"{JOBS}:pid", Number(), kind="plain") == plain


def test_temporary_files_of_jobs_lie_where_the_release_removes_them(tmp_path):
    (tmp_path / "temporary").mkdir()
    settings = WorkerSettings(
        count=1, threads=1, log=str(tmp_path / "worker.log"), temporary=str(tmp_path / "temporary")
    )
    with Workers(settings) as pool:
        pool.run(f"{JOBS}:leave_temporary", Number(), kind="plain")

    assert [path.name.startswith("left-") for path in (tmp_path / "temporary").iterdir()] == [True]


def test_no_job_starts_when_the_release_has_ended(tmp_path):
    with Workers(WorkerSettings(count=1, threads=1, log=str(tmp_path / "worker.log"))) as pool:
        pass

    with pytest.raises(StepFailed, match="ending"):
        pool.run(f"{JOBS}:pid", Number(), kind="plain")


def test_whoever_waits_for_a_job_is_told_when_the_workers_end(several):
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(several.run, f"{JOBS}:hang", Number()) for _ in range(2)]
        while len(several._all["keras3"]) < 1 or several._idle["keras3"]:
            time.sleep(0.01)

        several.end()

        for job in waiting:
            with pytest.raises(StepFailed, match="the release (is|was) ending"):
                job.result(timeout=20)


def test_a_busy_worker_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, threading, time\n"
        "from tasks.foundations.worker_process import WorkerSettings\n"
        "from tasks.foundations.workers import Workers\n"
        f"from {JOBS} import Number\n"
        "if __name__ == '__main__':\n"
        "    pool = Workers(WorkerSettings(count=1, threads=1, log=sys.argv[1] + '/w.log'))\n"
        f"    print(int(pool.run('{JOBS}:pid', Number(), kind='plain').value), flush=True)\n"
        f"    pool.run('{JOBS}:hang', Number(), kind='plain')\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_what_a_job_raises_is_not_its_own_cause(workers):
    with pytest.raises(InputError) as raised:
        workers.run(f"{JOBS}:refuse", Number(), kind="plain")

    assert raised.value.__cause__ is not raised.value
