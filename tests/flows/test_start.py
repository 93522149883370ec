"""What a person is told when it is Prefect that fails, and not the release."""

import subprocess

import pytest
from prefect.exceptions import PrefectHTTPStatusError

from flows.home import Home
from flows.prefect_server import Server
from flows.start import _of_prefect
from tasks.foundations.errors import SlipwayError, StepFailed
from tests.flows.installation import Installation


def test_what_a_step_said_comes_before_what_prefect_says_of_it():
    error = PrefectHTTPStatusError("500", request=None, response=None)
    error.__context__ = StepFailed("the disk is full")

    assert str(_of_prefect(error)) == "the disk is full"


def test_a_server_that_answers_with_errors_is_named_with_the_next_move():
    error = PrefectHTTPStatusError("500 for url x\nmore", request=None, response=None)

    found = _of_prefect(error)

    assert isinstance(found, SlipwayError)
    assert "Prefect's server does not answer as it should: 500 for url x. " in str(found)


def test_a_server_that_is_not_there_is_named_with_the_next_move():
    found = _of_prefect(RuntimeError("Failed to reach API at http://127.0.0.1:9/api/"))

    assert "http://127.0.0.1:9/api/. Start that server, or unset PREFECT_API_URL" in str(found)


def test_a_mistake_of_ours_is_not_blamed_on_prefect():
    with pytest.raises(ZeroDivisionError):
        _of_prefect(ZeroDivisionError("ours"))


def test_a_server_that_has_no_room_says_so(tmp_path, monkeypatch):
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)], capture_output=True)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    server = Server(Home(tmp_path))
    try:
        with pytest.raises(SlipwayError, match=f"server ended; .* The disk of {tmp_path / 'logs'} is full. Try again"):
            server.wait()
    finally:
        server.stop()
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_machine_elsewhere_needs_a_server_that_it_can_reach(tmp_path):
    installation = Installation(tmp_path)
    targets = {"cpu": {"runtime": "onnxruntime"}, "edge": {"runtime": "onnxruntime", "work_pool": "far away"}}

    answer = installation.release(targets=targets)

    assert answer.code == 2 and "'far away', and no Prefect server is named" in answer.json["error"]
    assert not (installation.home / "releases").exists() and not (installation.home / "prefect" / "prefect.db").exists()
