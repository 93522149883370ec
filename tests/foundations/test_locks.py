import signal
import subprocess
import sys

import pytest

from tasks.foundations.errors import Conflict
from tasks.foundations.locks import hold, holder

HOLDER = (
    "import sys, time; from pathlib import Path; from tasks.foundations.locks import hold\n"
    "with hold(Path(sys.argv[1]), 'release 7 of digits'): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def held(tmp_path):
    path = tmp_path / "measure.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield path, process
    process.kill()
    process.wait()


def test_who_waits_is_told_who_holds_the_lock(held):
    path, process = held
    said = []

    with pytest.raises(Conflict, match="release 7 of digits"), hold(path, "me", on_wait=said.append, timeout_s=0.1):
        pass

    assert f"process {process.pid}" in said[0]


def test_a_killed_holder_frees_the_lock(held):
    path, process = held
    process.send_signal(signal.SIGKILL)
    process.wait()

    with hold(path, "me", timeout_s=5):
        pass


def test_a_released_lock_bears_no_name(tmp_path):
    with hold(tmp_path / "a.lock", "me"):
        assert [path.name for path in tmp_path.glob("*.holder")] == ["a.holder"]

    assert not list(tmp_path.glob("*.holder"))


def test_the_note_of_a_killed_holder_is_not_believed(held, monkeypatch):
    monkeypatch.setattr("tasks.foundations.locks.SIGNED_WITHIN_S", 0.05)
    path, process = held
    assert "release 7 of digits" in holder(path)

    process.kill()
    process.wait()

    assert holder(path) == "another process"
