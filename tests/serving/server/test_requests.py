"""Requests over real sockets: every answer is one of the documented ones, whatever a client sends."""

import contextlib
import dataclasses
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import ROWS, WIDTH, Server, ServingFolder, heavy, serving

MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tiny` answers 2 x; `slow` takes longer than its deadline; `logarithm` answers NaN for negative numbers."""
    from onnx import helper

    place = tmp_path_factory.mktemp("requests")
    root = place / "serving"
    tiny, slow, logarithm = (ServingFolder(root, name) for name in ("tiny", "slow", "logarithm"))
    tiny.stage(2)
    tiny.point(3, 2)
    slow.stage(1, **heavy(500))
    slow.point(3, 1, deadline_ms=0.5)
    logarithm.stage(1, extra=(helper.make_node("Log", ["scaled"], ["log"]),), last="log")
    logarithm.point(3, 1)
    with serving(root, place / "log", max_body_bytes=MOST_BYTES, max_elements=10_000) as running:
        yield running


def infer_body(rows: Any = ROWS[:2], **more: Any) -> dict[str, Any]:
    rows = np.asarray(rows, np.float32)
    entry = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return {"inputs": [entry], **more}


def raw(server: Server, data: bytes, seconds: float = 30) -> bytes:
    """Send bytes as they are and read until the server closes or is silent."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=seconds) as connection:
        connection.sendall(data)
        got = b""
        try:
            while part := connection.recv(65536):
                got += part
        except (TimeoutError, ConnectionError):
            pass
        return got


def test_open_inference_protocol_in_json(server: Server) -> None:
    status, body, _ = server.call("POST", "/v2/models/tiny/infer", infer_body(id="a-1"))

    assert status == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "2", "a-1")
    np.testing.assert_allclose(body["outputs"][0]["data"], (2 * ROWS[:2]).ravel(), rtol=1e-6)


def test_open_inference_protocol_with_binary_tensors(server: Server) -> None:
    entry = {"name": "x", "shape": [2, WIDTH], "datatype": "FP32", "parameters": {"binary_data_size": 8 * WIDTH}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()

    status, content, headers = server.call(
        "POST",
        "/v2/models/tiny/versions/2/infer",
        head + ROWS[:2].tobytes(),
        {"Inference-Header-Content-Length": str(len(head))},
    )

    assert status == 200
    size = int(headers["inference-header-content-length"])
    told = json.loads(content[:size])
    assert told["outputs"][0]["parameters"]["binary_data_size"] == 8 * WIDTH
    np.testing.assert_array_equal(np.frombuffer(content[size:], np.float32).reshape(2, WIDTH), 2 * ROWS[:2])


@pytest.mark.parametrize("path", ["tiny", "tiny/versions/2", "tiny/labels/stable"])
def test_tensorflow_servings_rest(server: Server, path: str) -> None:
    status, body, _ = server.call("POST", f"/v1/models/{path}:predict", {"instances": ROWS[:2].tolist()})
    assert status == 200
    np.testing.assert_allclose(body["predictions"], 2 * ROWS[:2], rtol=1e-6)

    status, body, _ = server.call("POST", f"/v1/models/{path}:predict", {"inputs": {"x": ROWS[:2].tolist()}})
    assert status == 200
    np.testing.assert_allclose(body["outputs"], 2 * ROWS[:2], rtol=1e-6)

    status, body, _ = server.call("GET", f"/v1/models/{path}")
    assert body["model_version_status"][0]["version"] == "2"
    assert body["model_version_status"][0]["state"] == "AVAILABLE"
    status, body, _ = server.call("GET", f"/v1/models/{path}/metadata")
    assert status == 200 and body["model_spec"]["version"] == "2"


def test_pages(server: Server) -> None:
    assert server.call("GET", "/v2")[1]["name"] == "slipway"
    assert server.call("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert server.call("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert server.call("GET", "/v2/models/tiny/ready")[1] == {"name": "tiny", "ready": True}
    described = server.call("GET", "/v2/models/tiny")[1]
    assert described["versions"] == ["2"]
    assert described["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, WIDTH]}]
    assert server.call("GET", "/openapi.json")[1]["openapi"].startswith("3.1")
    text = server.call("GET", "/metrics")[1].decode()
    assert 'slipway_version{model="tiny"} 2.0' in text and "process_resident_memory_bytes" in text


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "JSON"),
    "not UTF-8": (b"\xff\xfe", "JSON"),
    "empty": (b"", "JSON"),
    "a list": ([], "object"),
    "no inputs": ({}, "inputs"),
    "unknown input": ({"inputs": [{"name": "z", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}, "'z'"),
    "wrong datatype": ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT64", "data": [1] * 4}]}, "FP32"),
    "wrong width": ({"inputs": [{"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [1] * 5}]}, "5"),
    "too few values": ({"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1] * 4}]}, "'x'"),
    "words": ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ["1"] * 4}]}, "'x'"),
    "null": ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [None] * 4}]}, "'x'"),
    "no rows": ({"inputs": [{"name": "x", "shape": [0, 4], "datatype": "FP32", "data": []}]}, "'x'"),
    "too large a number": (
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1e300] * 4}]},
        "'x'",
    ),
    "nested deeply": (b'{"inputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "JSON"),
    "a negative shape": ({"inputs": [{"name": "x", "shape": [-1, 4], "datatype": "FP32", "data": [1] * 4}]}, "'x'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_request_is_said(server: Server, case: str) -> None:
    body, word = WRONG[case]

    status, answer, _ = server.call("POST", "/v2/models/tiny/infer", body)

    assert status == 400 and word in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/nothing/infer", 404),
        ("POST", "/v2/models/tiny/versions/9/infer", 404),
        ("POST", "/v2/models/tiny/versions/x/infer", 404),
        ("POST", "/v1/models/nothing:predict", 404),
        ("POST", "/v1/models/tiny/labels/canary:predict", 404),
        ("POST", "/v1/models/tiny:classify", 405),
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/tiny/versions/99999999999999999999999", 404),
        ("GET", "/v2/models/tiny/infer", 405),
        ("GET", "/v1/models/tiny:predict", 405),
        ("PUT", "/v2", 405),
        ("GET", "/nothing", 404),
        ("GET", "/status", 404),
        ("POST", "/follow/tiny", 404),
        ("POST", "/v2/models/%2e%2e/infer", 404),
    ],
)
def test_what_is_not_there_is_said(server: Server, method: str, path: str, status: int) -> None:
    got, answer, _ = server.call(method, path, infer_body() if method == "POST" else None)

    assert got == status and answer["error"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    status, answer, _ = server.call("POST", "/v2/models/tiny/infer", b" " * (MOST_BYTES + 1))
    assert status == 413 and str(MOST_BYTES) in answer["error"]

    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n".encode()
    assert raw(server, head, seconds=3).startswith(b"HTTP/1.1 413")

    before = server.metric("rejected_total")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert raw(server, head + 8 * chunk, seconds=3)[:12] in (b"HTTP/1.1 413", b"")  # closed while more is on its way
    assert server.metric("rejected_total") == before + 1


def test_too_many_elements_are_refused(server: Server) -> None:
    assert server.call("POST", "/v2/models/tiny/infer", infer_body(np.ones((2501, 4))))[0] == 413
    assert server.call("POST", "/v2/models/tiny/infer", infer_body(np.ones((2500, 4))))[0] == 200


def test_a_packed_body_is_refused(server: Server) -> None:
    assert server.call("POST", "/v2/models/tiny/infer", b"x", {"Content-Encoding": "gzip"})[0] == 400


def test_a_model_that_answers_nan_fails_that_request_only(server: Server) -> None:
    status, answer, _ = server.call("POST", "/v2/models/logarithm/infer", infer_body([[1, 2, -3, 4]]))
    assert status == 500 and "NaN" in answer["error"]

    assert server.call("POST", "/v2/models/logarithm/infer", infer_body())[0] == 200
    assert dataclasses.replace(server, model="logarithm").metric("rejected_total") == 1


def test_an_answer_that_is_too_long_for_json_is_refused(tmp_path: Path) -> None:
    code = "from tasks.serving.server import app, bodies; app.MOST_JSON_NUMBERS, bodies.MOST_JSON_BYTES = 8, 400_000; "
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", prologue=code) as server:
        assert server.call("POST", "/v2/models/tiny/infer", infer_body(ROWS[:2]))[0] == 200
        status, answer, _ = server.call("POST", "/v2/models/tiny/infer", infer_body(ROWS[:3]))
        assert status == 413 and "12 numbers" in answer["error"] and "binary" in answer["error"]
        binary = infer_body(ROWS[:3], parameters={"binary_data_output": True})
        assert server.call("POST", "/v2/models/tiny/infer", binary)[0] == 200
        assert server.call("POST", "/v2/models/tiny/infer", b" " * 400_001)[0] == 413


def test_a_deadline_that_cannot_be_kept_is_told(server: Server) -> None:
    status, answer, _ = server.call("POST", "/v2/models/slow/infer", infer_body())

    assert status in (503, 504) and "deadline" in answer["error"]


def test_a_client_that_sends_its_headers_byte_by_byte_is_cut_off(tmp_path: Path) -> None:
    code = "import tasks.serving.server.protocol as p; p.HEADER_SECONDS = 0.5; "
    root = tmp_path / "serving"
    root.mkdir()
    with serving(root, tmp_path / "log", prologue=code) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            for byte in b"GET /v2 HTTP/1.1\r\n":
                connection.sendall(bytes([byte]))
                time.sleep(0.01)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert server.call("GET", "/v2/health/live")[0] == 200


@pytest.mark.parametrize(
    ("place", "function"), [("oip", "decode"), ("oip", "encode"), ("line", "_run_one")], ids=lambda word: word
)
def test_what_nobody_foresaw_is_answered_and_stays_in_the_log(tmp_path: Path, place: str, function: str) -> None:
    code = f"from tasks.serving.server import {place} as p; p.{function} = lambda *_: {{}}['of nobody']; "
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    body = json.dumps(infer_body()).encode()
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    with serving(folder.root, tmp_path / "log", prologue=code) as server:
        place_of = urlsplit(server.url)
        for parts in ([head + body], [head + body[:9], body[9:]]):  # the short way, and the long one
            with socket.create_connection((place_of.hostname, place_of.port), timeout=10) as connection:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(0.1)
                got = b"".join(iter(lambda: connection.recv(65536), b""))
            assert got.startswith(b"HTTP/1.1 500") and b'"The server failed: KeyError."' in got
        assert server.call("GET", "/v2/health/ready")[0] == 200
    assert "of nobody" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("begun", [b"", b"{"])
def test_a_body_that_does_not_come_is_given_up(tmp_path: Path, begun: bytes) -> None:
    code = "import tasks.serving.server.bodies as p; p.BODY_SECONDS = 0.5; "
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", prologue=code) as server:
        head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
        assert raw(server, head + begun, seconds=5).startswith(b"HTTP/1.1 504")
        assert server.infer([1, 2, 3, 4])[0] == 200


def test_a_small_limit_holds_for_a_body_that_comes_at_once(tmp_path: Path) -> None:
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", max_body_bytes=300) as server:
        assert server.infer([1, 2, 3, 4])[0] == 200
        status, answer, _ = server.call("POST", "/v2/models/tiny/infer", infer_body(id="y" * 300))
        assert status == 413 and "300 bytes" in answer["error"]


def test_a_connection_on_which_nothing_is_asked_is_closed_and_one_in_use_is_not(tmp_path: Path) -> None:
    code = "import tasks.serving.server.run as p; p.KEEP_ALIVE_S = 1; "
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    body = json.dumps(infer_body()).encode()
    request = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with serving(folder.root, tmp_path / "log", prologue=code) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            for _ in range(4):
                connection.sendall(request)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                time.sleep(0.5)
            connection.sendall(request[:20])  # from here its headers have a limit of their own
            time.sleep(1.5)
            connection.sendall(request[20:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            assert connection.recv(65536) == b""


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_request_that_offers_another_protocol_is_answered_in_this_one(server: Server, protocol: bytes) -> None:
    body = json.dumps(infer_body(id="one")).encode()
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: " + protocol
    head += b"\r\ncontent-length: %d\r\n\r\n" % len(body)
    next_one = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    for parts in ([head + body + next_one], [head, body, next_one], [head, body[:10], body[10:] + next_one]):
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.05)
            got = b"".join(iter(lambda: connection.recv(65536), b""))
        assert got.count(b"HTTP/1.1 200") == 2 and b'"id":"one"' in got and got.endswith(b'{"live":true}')


def test_a_body_is_never_taken_for_a_request(server: Server) -> None:
    inner = b"GET /v2/models/tiny HTTP/1.1\r\nhost: x\r\n\r\n"
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"

    got = raw(server, head + b"content-length: %d\r\n\r\n" % len(inner) + inner, seconds=1)

    assert got.count(b"HTTP/1.1") == 1 and got.startswith(b"HTTP/1.1 400")


def test_trailers_are_limited_and_mean_nothing(server: Server) -> None:
    body = json.dumps(infer_body()).encode()
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\n"

    got = raw(server, head + chunk + b"inference-header-content-length: 5\r\n\r\n", seconds=1)
    assert got.startswith(b"HTTP/1.1 200")

    flood = b"".join(b"t%d: %s\r\n" % (number, b"a" * 1000) for number in range(200))
    got = raw(server, head + chunk + flood, seconds=5)
    assert got == b"" or got.startswith(b"HTTP/1.1 431")


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path) -> None:
    code = "import tasks.serving.server.protocol as p; p.READ_SECONDS = 0.5; "
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1)
    folder.point(3, 1)
    with serving(folder.root, tmp_path / "log", prologue=code) as server:
        place = urlsplit(server.url)
        entry = {
            "name": "x",
            "shape": [100_000, WIDTH],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 1_600_000},
        }
        head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        size = len(head) + 1_600_000
        request = f"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n"
        request += f"inference-header-content-length: {len(head)}\r\n\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((place.hostname, place.port))
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                for _ in range(8):  # more than the system keeps for a client
                    connection.sendall(request.encode() + head + bytes(1_600_000))
                time.sleep(1.5)
                connection.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
                time.sleep(0.2)
                connection.sendall(b"x")
                pytest.fail("the connection is still open")
        assert server.infer([1, 2, 3, 4])[0] == 200


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_headers_that_are_too_large_are_refused(server: Server, end: bytes) -> None:
    lots = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100))

    assert raw(server, b"GET /v2 HTTP/1.1\r\nhost: x\r\n" + lots + end, seconds=5).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 100, 140])
def test_a_client_that_leaves_in_the_middle_harms_nobody(server: Server, cut: int) -> None:
    body = json.dumps(infer_body()).encode()
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    place = urlsplit(server.url)
    connection = socket.create_connection((place.hostname, place.port))
    connection.sendall((head + body)[:cut])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

    assert server.call("POST", "/v2/models/tiny/infer", infer_body())[0] == 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    parts = []
    for number in range(5):
        body = json.dumps(infer_body(id=str(number))).encode()
        close = b"connection: close\r\n" if number == 4 else b""
        parts.append(b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\n" + close)
        parts.append(b"content-length: %d\r\n\r\n" % len(body) + body)

    got = raw(server, b"".join(parts), seconds=10)

    order = [int(part[0:1]) for part in got.split(b'"id":"')[1:]]
    assert order == [0, 1, 2, 3, 4]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "shape", "x", "data"]), inner),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | JSON,
        "shape": st.just([1, WIDTH]) | st.lists(st.integers(-3, 2**70), max_size=3) | JSON,
        "datatype": st.just("FP32") | st.sampled_from(["BYTES", "INT8", "fp32"]) | JSON,
        "data": st.just([1.0] * WIDTH) | JSON,
        "parameters": st.just({"binary_data_size": 16}) | JSON,
    },
)
BODY = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({"inputs": st.lists(ENTRY, max_size=3)}, optional={"outputs": JSON, "id": JSON}).map(
        lambda value: json.dumps(value).encode()
    ),
    st.fixed_dictionaries({}, optional={"instances": JSON, "inputs": JSON, "signature_name": JSON}).map(
        lambda value: json.dumps(value).encode()
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    body=BODY,
    path=st.sampled_from(["/v2/models/tiny/infer", "/v1/models/tiny:predict"]),
    header=st.none() | st.integers(-5, 250).map(str) | st.text("0123456789-x", max_size=6),
)
def test_no_body_whatever_ends_in_a_server_error(server: Server, body: bytes, path: str, header: str | None) -> None:
    headers = {"Inference-Header-Content-Length": header} if header is not None else {}

    status, answer, _ = server.call("POST", path, body, headers)

    assert status in (200, 400, 413)
    assert status == 200 or answer["error"]


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=300), prefix=st.sampled_from([b"", b"POST /v2 HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nhost:"])
)
def test_no_bytes_whatever_stop_the_server(server: Server, data: bytes, prefix: bytes) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(prefix + data)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.05)
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.recv(1000)

    assert server.call("GET", "/v2/health/live")[0] == 200


def test_ten_times_what_it_can_answer_gives_answers_in_time_or_503(tmp_path: Path) -> None:
    """40 clients ask without a pause; the line holds 4 and a call takes a hundredth of the deadline."""
    folder = ServingFolder(tmp_path / "serving")
    folder.stage(1, **heavy(300))
    folder.point(3, 1, queue=4, deadline_ms=500)
    with serving(folder.root, tmp_path / "log") as server:
        outcomes: list[tuple[int, float, str | None]] = []
        over = time.monotonic() + 3

        def ask() -> None:
            place = urlsplit(server.url)
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
            body = json.dumps(infer_body(ROWS[:1]))
            while time.monotonic() < over:
                begin = time.monotonic()
                connection.request("POST", "/v2/models/tiny/infer", body)
                answer = connection.getresponse()
                answer.read()
                outcomes.append((answer.status, time.monotonic() - begin, answer.getheader("retry-after")))
            connection.close()

        clients = [threading.Thread(target=ask) for _ in range(40)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        statuses = [status for status, _, _ in outcomes]
        assert set(statuses) <= {200, 503, 504} and statuses.count(200) > 20 and statuses.count(503) > 20
        assert all(after for status, _, after in outcomes if status == 503)
        assert statuses.count(504) <= 0.02 * len(statuses)
        assert server.infer(ROWS[0].tolist())[0] == 200
