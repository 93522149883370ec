"""A trial lets through what loads, answers as released and keeps its limits, and nothing else; it leaves no process."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real_bundles import write_golden, write_model

from tasks.bundle.manifest import FileEntry
from tasks.foundations.errors import Refused
from tasks.serving import _oip_client, _onnx_validation, _trial_server
from tasks.serving.onnx_server import OnnxServer
from tasks.serving.served import Batching
from tasks.serving.staging import Payload
from tasks.serving.trial import Trial
from tasks.store.digest import digest_file, digest_folder, list_files

FAULTY = Path(__file__).parent / "faulty_server.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A serving folder with version 1 of `digits` staged."""
    folder = write_model(tmp_path / "serving/onnx_server/digits/1", 1)
    write_golden(folder / "golden", folder)
    return tmp_path / "serving"


def payload(root: Path) -> Payload:
    folder = root / "onnx_server/digits/1"
    files = {
        name: FileEntry(sha256=digest_file(path), size=path.stat().st_size) for name, path in list_files(folder).items()
    }
    return Payload(folder=str(folder), digest=digest_folder(folder), files=files)


def serving(trial: Trial, **fields: Any) -> OnnxServer:
    return OnnxServer(kind="onnx_server", target="cpu", validation=trial, **fields)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that a trial starts."""
    found: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr(_trial_server.subprocess, "Popen", Noted)
    return found


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda how: monkeypatch.setattr(_trial_server, "COMMAND", (sys.executable, str(FAULTY), how))


def test_a_real_server_answers_and_is_measured(root: Path, started: list[Any]) -> None:
    batching = Batching(max_size=4)
    result = serving(Trial(requests=40), batching=batching).validate(root, "digits", 1, payload(root))

    assert (result.kind, result.requests, result.note) == ("onnx_server", 56, "")
    assert 0 < result.p50_ms <= result.p99_ms < 1000
    assert result.load_ms > 0 and 20e6 < result.memory_bytes < 2e9
    assert [process.poll() is not None for process in started] == [True]


def test_a_real_server_refuses_a_copy_that_is_not_what_was_released(root: Path) -> None:
    content = payload(root)
    (root / "onnx_server/digits/1/model.onnx").write_bytes(b"cut off")

    with pytest.raises(Refused, match=r"Version 1 of digits gets no traffic: its server did not start: .*has digest"):
        serving(Trial()).validate(root, "digits", 1, content)


def test_answers_that_are_not_those_of_the_release_get_no_traffic(root: Path) -> None:
    file = root / "onnx_server/digits/1/golden/outputs/0.npy"
    np.save(file, np.load(file) + 1)

    with pytest.raises(Refused, match="differs from its golden answer"):
        serving(Trial()).validate(root, "digits", 1, payload(root))


@pytest.mark.parametrize("name", ["golden/golden.json", "model.onnx", "signature.json"])
def test_a_copy_that_lacks_what_a_trial_needs_is_refused_with_its_name(
    root: Path, started: list[Any], name: str
) -> None:
    (root / "onnx_server/digits/1" / name).unlink()

    with pytest.raises(Refused, match=f"its copy has no {name}"):
        serving(Trial()).validate(root, "digits", 1, payload(root))
    assert started == []


@pytest.mark.parametrize(
    ("how", "trial", "why"),
    [
        ("answers nothing", {"start_s": 3.0}, "its server did not answer in time"),
        ("never gets ready", {"start_s": 2.0}, "its server was not ready within 2 s"),
        ("dies at once", {}, "its server did not start: it ended with exit code 5"),
        ("dies of a request", {}, "its server failed: it ended with exit code 3"),
        ("says why it cannot", {}, "its server did not start: version 1 has no weights"),
        ("refuses", {}, r'its server failed: ValueError: HTTP 500: {"error": "the model failed"}'),
    ],
)
def test_a_server_that_fails_is_refused_in_one_line_with_its_log_below(
    root: Path, faulty: Callable[[str], None], started: list[Any], how: str, trial: dict[str, Any], why: str
) -> None:
    faulty(how)

    with pytest.raises(Refused) as caught:
        serving(Trial(**{"requests": 30, **trial})).validate(root, "digits", 1, payload(root))
    first, *log = str(caught.value).splitlines()
    assert first == f"Version 1 of digits gets no traffic: {why}."
    assert log == ["The end of its server's log:", "words in the log"]
    assert [process.poll() is not None for process in started] == [True]


def test_a_signal_that_ends_the_server_at_its_start_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(_trial_server, "COMMAND", (sys.executable, "-c", dies))

    with pytest.raises(Refused, match=r"its server did not start: it was killed by SIGSEGV\.\nThe end of"):
        serving(Trial()).validate(root, "digits", 1, payload(root))


def test_a_signal_that_ends_the_server_later_is_named_with_who_may_have_sent_it(
    root: Path, faulty: Callable[[str], None], started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = _oip_client.Client.infer

    def killed_before(self: _oip_client.Client, feeds: dict[str, Any]) -> dict[str, Any]:
        started[0].send_signal(signal.SIGKILL)
        return original(self, feeds)

    faulty("works")
    monkeypatch.setattr(_oip_client.Client, "infer", killed_before)
    with pytest.raises(Refused, match=r"failed: it was killed by SIGKILL, as the system does when memory runs out\.\n"):
        serving(Trial()).validate(root, "digits", 1, payload(root))


@pytest.mark.parametrize(
    ("how", "trial", "why"),
    [
        ("answers NaN", {}, "Output 'scores' differs from its golden answer by nan"),
        ("answers otherwise", {}, r"Output 'scores' differs from its golden answer by 0\.5"),
        ("answers otherwise under load", {}, "Under load, output 'scores' of golden row"),
        ("is slow", {"p99_ms": 5.0}, r"p99 of 30 requests is [0-9.]+ ms \(p50 [0-9.]+ ms\); at most 5 ms"),
        (
            "eats memory",
            {"memory_mb": 150},
            "its server passed the 150 MB of memory that are allowed and was ended then. .* an empty server takes",
        ),
    ],
)
def test_a_server_that_works_and_is_not_good_enough_is_refused_with_figures_and_no_log(
    root: Path, faulty: Callable[[str], None], started: list[Any], how: str, trial: dict[str, Any], why: str
) -> None:
    faulty(how)

    with pytest.raises(Refused, match=f"^Version 1 of digits gets no traffic: {why}.*[.]$") as caught:
        serving(Trial(**{"requests": 30, **trial})).validate(root, "digits", 1, payload(root))
    assert "log" not in str(caught.value)
    assert [process.poll() is not None for process in started] == [True]


def test_the_deadline_is_the_limit_where_no_other_is_named(root: Path, faulty: Callable[[str], None]) -> None:
    faulty("is slow")

    with pytest.raises(Refused, match="at most 8 ms"):
        serving(Trial(requests=10), deadline_ms=8).validate(root, "digits", 1, payload(root))
    assert serving(Trial(requests=10)).validate(root, "digits", 1, payload(root)).p50_ms >= 20


def test_large_golden_batches_are_asked_in_parts(
    root: Path, faulty: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = _oip_client.Client.infer

    def noted(self: _oip_client.Client, feeds: dict[str, Any]) -> dict[str, Any]:
        asked.append(len(feeds["image"]))
        return original(self, feeds)

    faulty("works")
    monkeypatch.setattr(_onnx_validation, "PART_BYTES", 100)  # six rows of 16 bytes
    monkeypatch.setattr(_oip_client.Client, "infer", noted)
    serving(Trial(requests=1)).validate(root, "digits", 1, payload(root))

    assert asked == [6, 6, 4, 1, 1]


def test_ctrl_c_leaves_no_server(
    root: Path, faulty: Callable[[str], None], started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    faulty("works")
    monkeypatch.setattr(_oip_client.Client, "infer", pressed)
    with pytest.raises(KeyboardInterrupt):
        serving(Trial()).validate(root, "digits", 1, payload(root))

    assert [process.poll() is not None for process in started] == [True]


def test_the_settings_of_the_pointer_are_what_a_node_reads() -> None:
    target = serving(Trial(), deadline_ms=50, queue=3, batching=Batching(max_size=8))

    assert target.settings() == {
        "deadline_ms": 50.0,
        "queue": 3,
        "batching": {"max_size": 8, "max_delay_ms": 0.0},
    }
