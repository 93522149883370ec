"""Several processes on one port: each a node, one view of the pointer, one of them killed under load."""

import json
import os
import signal
import socket
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from world import Server, ServingFolder, eventually, serving

from tasks.foundations.processes import is_alive
from tasks.serving.nodes import living


def pids(folder: ServingFolder) -> set[int]:
    return {node.pid for node in living(folder.root)}


def versions(server: Server, times: int = 30) -> set[str]:
    """Versions that answer on fresh connections, which the kernel spreads over the processes."""
    return {server.infer([1, 2, 3, 4])[1]["model_version"] for _ in range(times)}


def follow_all(folder: ServingFolder, server: Server, serial: int) -> list[dict[str, Any]]:
    """Ask every node, as a move does."""
    entries = []
    for node in living(folder.root):
        view = Server(server.process, {"admin": node.admin, "url": node.url}, server.log)
        entries.append(view.follow(serial))
    return entries


def test_two_workers_serve_switch_outlive_a_kill_and_end_together(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.stage(2)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", workers=2) as server:
        first = pids(folder)
        assert len(first) == 2 and server.process.pid not in first
        assert versions(server) == {"1"}

        folder.point(7, 2, previous=1)
        assert [entry["version"] for entry in follow_all(folder, server, 7)] == [2, 2]
        assert versions(server) == {"2"}
        assert server.metric("version") == 2

        time.sleep(1.5)  # a process counts together what it has answered within a second
        before = server.metric("requests_total")
        server.infer([1, 2, 3, 4])
        eventually(lambda: server.metric("requests_total") == before + 1)  # whichever process is asked

        failed: list[Any] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                try:
                    status, answer = server.infer([1, 2, 3, 4])
                    failed.extend([answer] if status != 200 else [])
                except (OSError, HTTPException) as error:  # a connection to the process that was killed
                    failed.append(error)

        client = threading.Thread(target=ask)
        client.start()
        victim = first.pop()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(pids(folder)) == 2 and victim not in pids(folder))
        time.sleep(0.2)
        over.set()
        client.join()

        assert len(failed) <= 1  # at most the request that it was answering
        assert versions(server) == {"2"}
        last = pids(folder)
        assert server.stop() == 0
    assert not [pid for pid in last if is_alive(pid)]
    assert pids(folder) == set()


def test_a_server_killed_under_load_comes_back_with_the_version_it_served(
    folder: ServingFolder, tmp_path: Path
) -> None:
    folder.stage(1)
    folder.stage(2)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "first.log") as first:
        folder.point(7, 2, previous=1)
        first.follow(7)
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                try:
                    first.infer([1, 2, 3, 4])
                except (OSError, HTTPException):
                    return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        first.process.kill()
        over.set()
        for client in clients:
            client.join()
        port = int(first.url.rpartition(":")[2])

    with serving(folder.root, tmp_path / "second.log", port=port) as second:
        assert second.url == first.url
        assert versions(second, times=3) == {"2"}
        eventually(lambda: second.status()["resident"] == [1, 2])  # a rollback would load nothing


def test_while_workers_wait_for_the_rest_of_requests_nobody_is_let_in(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()
    with serving(folder.root, tmp_path / "log", workers=2) as server:
        begun = [HTTPConnection(urlsplit(server.url).netloc, timeout=30) for _ in range(16)]  # some to each process
        for connection in begun:
            connection.putrequest("POST", "/v2/models/tiny/infer")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body[:9])
        server.process.terminate()
        eventually(lambda: not _lets_in(server))
        for connection in begun:
            connection.send(body[9:])
        answers = [connection.getresponse() for connection in begun]
        assert [(answer.status, answer.getheader("Connection")) for answer in answers] == [(200, "close")] * len(begun)
        assert server.process.wait(30) == 0


def _lets_in(server: Server) -> bool:
    place = urlsplit(server.url)
    try:
        socket.create_connection((place.hostname, place.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_workers_end_with_the_process_that_keeps_them(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", workers=2) as server:
        children = pids(folder)
        server.process.kill()
        server.process.wait()
        eventually(lambda: not [pid for pid in children if is_alive(pid)])


def test_a_taken_port_is_said(folder: ServingFolder, tmp_path: Path) -> None:
    folder.root.mkdir()
    with serving(folder.root, tmp_path / "first.log") as first:
        port = int(first.url.rpartition(":")[2])
        with serving(folder.root, tmp_path / "second.log", port=port) as second:
            assert f"127.0.0.1:{port} cannot be listened on: Address already in use" in second.announced["error"]
            assert second.process.wait(30) == 1


def test_a_worker_that_cannot_start_is_said(folder: ServingFolder, tmp_path: Path) -> None:
    folder.root.mkdir()
    with serving(folder.root, tmp_path / "first.log") as first:
        taken = int(first.announced["admin"].rpartition(":")[2])
        with serving(folder.root, tmp_path / "second.log", workers=2, admin_port=taken) as second:
            assert f"127.0.0.1:{taken} cannot be listened on" in second.announced["error"]
            assert second.process.wait(30) == 1


def test_what_a_killed_worker_was_failing_at_is_forgotten(folder: ServingFolder, tmp_path: Path) -> None:
    folder.stage(1)
    folder.point(3, 1)
    pointer = folder.base / "pointer.json"
    with serving(folder.root, tmp_path / "log", workers=2) as server:
        whole = pointer.read_text()
        pointer.write_text("garbage")
        follow_all(folder, server, 3)
        eventually(lambda: server.metric("failing") == 1)
        victim = pids(folder).pop()
        os.kill(victim, signal.SIGKILL)
        pointer.write_text(whole)
        eventually(lambda: len(pids(folder)) == 2 and victim not in pids(folder))
        follow_all(folder, server, 3)

        eventually(lambda: server.metric("failing") == 0)
