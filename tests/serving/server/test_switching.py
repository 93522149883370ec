"""What a node does with its pointer: switch, refuse, remember, come back."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world import ROWS, Server, ServingFolder, eventually, heavy, serving

from tasks.bundle.golden import FILE
from tasks.serving import pointer as pointers
from tasks.serving.nodes import living

Served = tuple[Server, ServingFolder]


def answer(server: Server, version: int | None = None) -> float:
    """What the model multiplies by."""
    status, body = server.infer([1.0, 2.0, 3.0, 4.0], version=version)
    assert status == 200, body
    assert body["outputs"][0]["data"] == [each * body["outputs"][0]["data"][0] for each in (1, 2, 3, 4)]
    return float(body["outputs"][0]["data"][0])


def test_a_node_serves_what_its_pointer_says_and_switches_when_told(served: Served) -> None:
    server, folder = served
    assert answer(server) == 1
    digest = folder.point(7, 2, previous=1).digest

    entry = server.follow(7)

    assert (entry["serial"], entry["version"], entry["digest"]) == (7, 2, digest)
    assert entry["failed"] is None and entry["previous"] == 1 and entry["resident"] == [1, 2]
    assert answer(server) == 2
    assert server.metric("version") == 2
    assert server.metric("serial") == 7


def test_a_node_switches_by_itself_when_nobody_tells_it(served: Served) -> None:
    server, folder = served
    folder.point(7, 2, previous=1)

    eventually(lambda: answer(server) == 2)


def test_going_back_loads_nothing(served: Served) -> None:
    server, folder = served
    folder.point(7, 2, previous=1)
    assert server.follow(7)["load_ms"] > 0
    folder.point(11, 1)

    entry = server.follow(11)

    assert (entry["version"], entry["load_ms"]) == (1, 0)
    assert answer(server) == 1


def test_the_version_before_is_still_answered_by_number_and_others_are_not(served: Served) -> None:
    server, folder = served
    folder.point(7, 2, previous=1)
    server.follow(7)

    assert answer(server, version=1) == 1
    status, body = server.infer([1, 2, 3, 4], version=3)
    assert status == 404 and "is not served here. Served: 1, 2." in body["error"]


def test_after_a_rollback_the_version_below_is_made_ready_and_the_one_above_leaves(served: Served) -> None:
    server, folder = served
    folder.stage(3)
    folder.point(7, 2, previous=1)
    server.follow(7)
    folder.point(11, 3, previous=2)
    server.follow(11)
    eventually(lambda: server.status()["resident"] == [2, 3])
    folder.point(15, 2, previous=1)
    server.follow(15)

    eventually(lambda: server.status()["resident"] == [1, 2])
    assert answer(server) == 2


def test_a_lower_serial_is_not_followed(served: Served) -> None:
    server, folder = served
    folder.point(7, 2, previous=1)
    server.follow(7)
    (folder.base / "pointer.json").unlink()
    folder.point(5, 1)

    eventually(lambda: server.status()["failed"] is not None)

    assert "went back from move 7 to move 5" in server.status()["failed"]["reason"]
    assert answer(server) == 2


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def add(path: Path) -> None:
    (path.parent / "extra").write_text("x")


@pytest.mark.parametrize("damage", [corrupt, cut, add, os.unlink])
def test_a_damaged_version_takes_no_traffic(served: Served, damage) -> None:
    server, folder = served
    os.kill(server.process.pid, signal.SIGSTOP)
    folder.point(8, 2, previous=1)
    damage(folder.base / "2/model.onnx")
    os.kill(server.process.pid, signal.SIGCONT)

    failed = server.follow(8)["failed"]

    assert failed["serial"] == 8 and failed["version"] == 2 and "Nothing of it was opened" in failed["reason"]
    assert answer(server) == 1
    assert server.call("GET", "/v2/health/ready")[0] == 200
    assert server.metric("failed_loads_total") == 1
    assert server.metric("failing") == 1
    assert "version 2 takes no traffic" in server.log.read_text()


def test_a_version_with_other_answers_than_its_golden_ones_takes_no_traffic(served: Served) -> None:
    server, folder = served
    folder.stage(5)
    answers = folder.base / "5/golden/outputs/0.npy"
    np.save(answers, np.load(answers) * np.float32(1.01))
    folder.point(7, 5)

    failed = server.follow(7)["failed"]

    assert "differs from its golden answer" in failed["reason"]
    assert answer(server) == 1


def test_a_version_of_a_provider_that_this_node_lacks_takes_no_traffic(served: Served) -> None:
    server, folder = served
    folder.stage(5)
    golden = folder.base / "5/golden" / FILE
    content = json.loads(golden.read_text())
    golden.write_text(json.dumps({**content, "runtime": {**content["runtime"], "provider": "tensorrt"}}))
    folder.point(7, 5)

    failed = server.follow(7)["failed"]

    assert "has no provider tensorrt; it has cpu. Install onnxruntime-gpu" in failed["reason"]
    assert answer(server) == 1


def test_a_file_that_is_no_model_takes_no_traffic(served: Served) -> None:
    server, folder = served
    folder.stage(5)
    (folder.base / "5/model.onnx").write_bytes(b"not a model")
    folder.point(7, 5)

    assert "cannot open" in server.follow(7)["failed"]["reason"]
    assert answer(server) == 1


def test_what_failed_is_tried_again_when_somebody_asks(served: Served) -> None:
    server, folder = served
    folder.stage(5)
    whole = (folder.base / "5/model.onnx").read_bytes()
    folder.point(7, 5)
    cut(folder.base / "5/model.onnx")
    assert server.follow(7)["failed"] is not None
    (folder.base / "5/model.onnx").write_bytes(whole)

    entry = server.follow(7)

    assert (entry["failed"], entry["version"]) == (None, 5)


def test_what_failed_is_tried_again_when_the_next_move_comes(served: Served) -> None:
    server, folder = served
    folder.stage(5)
    whole = (folder.base / "5/model.onnx").read_bytes()
    pointer = folder.point(7, 5)
    cut(folder.base / "5/model.onnx")
    server.follow(7)
    (folder.base / "5/model.onnx").write_bytes(whole)
    pointers.write(folder.base, pointer.model_copy(update={"serial": 11}))

    assert server.follow(11)["failed"] is None
    assert answer(server) == 5


def test_a_model_too_large_for_the_memory_that_is_left_is_not_loaded(
    folder: ServingFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.foundations.errors import SlipwayError
    from tasks.serving.server import memory, resident

    folder.stage(1)
    pointer = folder.point(3, 1)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 0 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)

    with pytest.raises(SlipwayError, match="Version 1 needs about 0 MB of memory to load.* 0 MB are left"):
        resident.load(folder.base, pointer)


def test_a_container_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.serving.server import memory

    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    unlimited = memory.available_bytes()
    (tmp_path / "memory.max").write_text("5000\n")

    assert memory.available_bytes() == 4000
    (tmp_path / "memory.stat").write_text("anon 10\ninactive_file 600\n")
    assert memory.available_bytes() == 4600  # cached files are given back
    assert unlimited is not None and unlimited > 1e6


def test_a_restart_on_a_bad_pointer_comes_up_with_the_last_good_version(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.stage(2)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "first.log") as first:
        eventually((folder.base / "good.json").is_file)
        first.process.kill()
    folder.point(7, 2, previous=1)
    corrupt(folder.base / "2/model.onnx")

    with serving(folder.root, tmp_path / "second.log") as second:
        assert answer(second) == 1
        assert second.call("GET", "/v2/health/ready")[0] == 200
        assert second.status()["failed"]["version"] == 2


def test_without_any_version_a_node_lives_and_is_not_ready(folder: ServingFolder, tmp_path: Path) -> None:
    folder.root.mkdir()
    with serving(folder.root, tmp_path / "log", poll_s=0.1) as server:
        assert server.call("GET", "/v2/health/live")[0] == 200
        assert server.call("GET", "/v2/health/ready")[0] == 503
        assert server.infer([1, 2, 3, 4])[0] == 404

        folder.stage(1)
        folder.point(3, 1)
        eventually(lambda: server.call("GET", "/v2/health/ready")[0] == 200)
        assert answer(server) == 1


def test_a_named_model_without_a_version_keeps_a_node_unready(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", models=["tiny", "other"]) as server:
        assert answer(server) == 1
        assert server.call("GET", "/v2/health/ready")[0] == 503
        status, body = replace(server, model="other").infer([1, 2, 3, 4])
        assert status == 503 and "is not ready" in body["error"]


def test_readiness_never_flips_during_switches(served: Served) -> None:
    server, folder = served
    seen, over = set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.add(server.call("GET", "/v2/health/ready")[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for serial in range(7, 27, 2):
        folder.point(serial, 1 + serial // 2 % 2)
        server.follow(serial)
    over.set()
    watcher.join()

    assert seen == {200}


def test_a_withdrawn_model_answers_no_more_and_a_lost_pointer_changes_nothing(served: Served) -> None:
    server, folder = served
    (folder.base / "pointer.json").rename(folder.base / "lost")
    server.follow(3)
    assert answer(server) == 1
    (folder.base / "lost").rename(folder.base / "pointer.json")

    pointers.remove(folder.base)

    server.follow(3, wait_s=1)
    eventually(lambda: server.infer([1, 2, 3, 4])[0] == 503)
    assert server.status()["version"] is None


def test_a_rollback_does_not_wait_for_a_load_that_goes_on(served: Served) -> None:
    server, folder = served
    folder.point(7, 2, previous=1)
    server.follow(7)
    folder.stage(5, **heavy(1000))
    folder.point(11, 5, previous=2)
    eventually(lambda: server.follow(11, wait_s=0)["loading"] == 5)
    folder.point(15, 1)

    entry = server.follow(15)

    assert (entry["version"], entry["loading"]) == (1, 5)
    eventually(lambda: server.status()["loading"] is None)
    assert server.status()["version"] == 1
    eventually(lambda: 5 not in server.status()["resident"])


def whole_load(server: Server) -> dict[str, Any]:
    """Status of a model once its first version answers."""
    eventually(lambda: server.status()["version"] is not None, seconds=120)
    return server.status()


def test_a_slow_load_keeps_no_other_model_from_its_poll(served: Served, shared: tuple[Path, Server]) -> None:
    server, folder = served
    slow = ServingFolder(folder.root, f"{folder.model}-slow")
    slow.stage(5, **heavy(1600))
    slow.point(3, 5)
    loading = replace(server, model=slow.model)
    eventually(lambda: loading.call("POST", f"/follow/{slow.model}", admin=True)[1]["loading"] == 5)
    time.sleep(0.5)  # polls have come by
    folder.point(7, 2, previous=1)

    eventually(lambda: server.status()["version"] == 2)

    assert server.status()["switched_at"] < whole_load(loading)["switched_at"]


def test_nodes_are_known_while_they_live(folder: ServingFolder, tmp_path: Path) -> None:
    folder.root.mkdir()
    with serving(folder.root, tmp_path / "first.log") as first:
        (node,) = living(folder.root, "tiny")
        assert (node.url, node.admin) == (first.url, first.announced["admin"])
        assert node.pid == first.process.pid
        first.process.kill()
        first.process.wait()
        assert living(folder.root, "tiny") == []

    with serving(folder.root, tmp_path / "second.log") as second:
        assert len(living(folder.root)) == 1
        assert second.stop() == 0
        assert list((folder.root / "nodes").glob("*.json")) == []


def test_a_pinned_version_is_served_beside_its_pointer_and_is_no_node(served: Served, tmp_path: Path) -> None:
    server, folder = served
    pinned = folder.point(7, 2, previous=1)
    folder.point(9, 1)
    with serving(folder.root, tmp_path / "pinned.log", pinned={folder.model: pinned.model_dump()}) as other:
        assert answer(replace(other, model=folder.model)) == 2
        assert [node.pid for node in living(folder.root)] == [server.process.pid]
    assert json.loads((folder.base / "good.json").read_text())["version"] == 1


def test_a_pinned_version_that_cannot_be_served_ends_the_process(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    pinned = folder.point(3, 1)
    cut(folder.base / "1/model.onnx")

    with serving(folder.root, tmp_path / "log", pinned={"tiny": pinned.model_dump()}) as server:
        assert "Nothing of it was opened" in server.announced["error"]
        assert server.process.wait(30) == 1


def test_a_pinned_process_ends_with_its_parent(folder: ServingFolder, tmp_path: Path) -> None:
    import subprocess
    import sys

    from tasks.serving.server.settings import ServeSettings

    folder.stage(1)
    pinned = folder.point(3, 1)
    code = (
        "import os, subprocess, sys\n"
        "from tasks.serving.server.settings import ServeSettings\n"
        "told = ServeSettings.model_validate_json(sys.argv[1]).model_copy(update={'parent': os.getpid()})\n"
        "child = subprocess.Popen([sys.executable, '-m', 'tasks.serving.server', told.model_dump_json()],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    told = ServeSettings(root=str(folder.root), port=0, pinned={"tiny": pinned}).model_dump_json()
    ran = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True, check=True)

    from tasks.foundations.processes import is_alive

    eventually(lambda: not is_alive(int(ran.stdout)))


def test_sigterm_answers_what_is_in_flight(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1, batching={"max_size": 8, "max_delay_ms": 600})
    with serving(folder.root, tmp_path / "log") as server:
        answers: list[int] = []
        waiting = threading.Thread(target=lambda: answers.append(server.infer(ROWS[0].tolist())[0]))
        waiting.start()
        time.sleep(0.2)

        assert server.stop() == 0
        waiting.join(30)

    assert answers == [200]


def test_settings_that_a_node_does_not_know_fail_the_move_and_not_the_node(served: Served, tmp_path: Path) -> None:
    server, folder = served
    folder.point(7, 2, previous=1, deadline_ms=500, newkey=1)

    failed = server.follow(7)["failed"]

    assert failed["serial"] == 7 and "does not know its settings (newkey)" in failed["reason"]
    assert answer(server) == 1
    assert server.metric("failed_loads_total") == 1
    other = ServingFolder(tmp_path / "again", folder.model)
    other.stage(1)
    other.point(3, 1, newkey=1)
    healthy = replace(other, model="healthy")
    healthy.stage(4)
    healthy.point(3, 4)
    with serving(other.root, tmp_path / "log") as again:
        assert answer(replace(again, model="healthy")) == 4


def test_a_start_on_a_damaged_version_without_a_memory_takes_the_one_before(
    folder: ServingFolder, tmp_path: Path
) -> None:
    folder.stage(1)
    folder.stage(2)
    folder.point(7, 2, previous=1)
    corrupt(folder.base / "2/model.onnx")

    with serving(folder.root, tmp_path / "log") as server:
        assert answer(server) == 1
        assert server.status()["failed"]["version"] == 2


def test_a_pointer_that_cannot_be_read_is_no_failed_load(served: Served) -> None:
    server, folder = served
    (folder.base / "pointer.json").write_text("garbage")

    server.follow(9, wait_s=1)

    assert answer(server) == 1
    assert "is not a pointer" in server.status()["failed"]["reason"]
    assert (server.metric("failed_loads_total"), server.metric("failing")) == (0, 1)
    assert "the pointer is not followed, version 1 goes on" in server.log.read_text()


def test_a_folder_that_cannot_be_written_is_served_all_the_same(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    (folder.root / "nodes").write_text("in the way")

    with serving(folder.root, tmp_path / "log") as server:
        assert answer(server) == 1
        assert "moves cannot see this server" in server.log.read_text()
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_other_signals_end_as_well(folder: ServingFolder, tmp_path: Path, number: int) -> None:
    folder.root.mkdir()
    with serving(folder.root, tmp_path / "log") as server:
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
    assert living(folder.root) == []
