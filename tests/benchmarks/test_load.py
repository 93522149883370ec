"""The clients' own code: what they read, count and time."""

import json
import socket
import threading

import numpy as np
import pytest

from tests.benchmarks import wire
from tests.benchmarks.load import Block, Load, length_of
from tests.benchmarks.sections.serving import numbers
from tests.benchmarks.sides import Seen

ANSWER = b"HTTP/1.1 %d OK\r\n%sContent-Length: %d\r\n\r\n%s"


class Server(threading.Thread):
    """Answers the n-th request of a connection with the n-th of some answers, and the last one from then on."""

    def __init__(self, *answers: bytes, pieces: int = 1) -> None:
        super().__init__(daemon=True)
        self.answers, self.pieces = answers, pieces
        self.seen: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        count = 0
        while request := self.read(connection):
            self.seen.append(request)
            answer = self.answers[min(count, len(self.answers) - 1)]
            count += 1
            if not answer:
                break
            size = -(-len(answer) // self.pieces)
            for start in range(0, len(answer), size):
                connection.sendall(answer[start : start + size])
                if self.pieces > 1:
                    threading.Event().wait(0.005)
        connection.close()

    def read(self, connection: socket.socket) -> bytes:
        request = b""
        while not (wanted := length_of(request)) or len(request) < wanted:
            chunk = connection.recv(65536)
            if not chunk:
                return b""
            request += chunk
        return request


def answer(body: bytes, status: int = 200, head: bytes = b"") -> bytes:
    return ANSWER % (status, head, len(body), body)


@pytest.fixture
def load(tmp_path):
    with Load(tmp_path) as clients:
        yield clients


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", 43),
        (b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length:5\r\nC: d\r\n\r\n", 54),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", 0),
    ],
)
def test_the_length_of_an_answer_is_known_from_its_head(text, length):
    assert length_of(text) == length


def test_an_answer_without_length_is_an_error():
    with pytest.raises(ConnectionError, match="Content-Length"):
        length_of(b"HTTP/1.1 200 OK\r\n\r\n")


def test_every_request_is_sent_in_turn_and_its_answer_kept_whole_though_it_comes_in_pieces(load):
    server = Server(answer(b"one"), answer(b"two"), pieces=3)
    requests = load.requests("r", [wire.post("/a", b"x"), wire.post("/b", b"yy")])

    block = load.block(server.port, requests, clients=1, seconds=0.2, keep=True)

    assert [request.split()[1] for request in server.seen[:4]] == [b"/a", b"/b", b"/a", b"/b"]
    assert block.answers.keys() == {(0, b"one"), (1, b"two"), (0, b"two")}
    assert sum(block.answers.values()) == len(block.ms) == len(server.seen)
    assert block.bad == 0
    assert block.quantile(0) >= 10  # two pauses of 5 ms are in every answer


def test_statuses_and_lost_connections_are_told_apart(load):
    server = Server(answer(b""), answer(b"busy", 503, b"Retry-After: 1\r\n"), answer(b"", 500), b"")

    block = load.block(server.port, load.requests("r", [wire.post("/", b"")]), clients=1, seconds=0.3)

    good, busy, broken = ((block.statuses == status).sum() for status in (200, 503, 500))
    assert busy == block.retry_after
    assert 0 <= good - broken <= 1
    assert sum(block.failed.values()) in (broken, broken - 1)
    assert block.bad == busy + broken + sum(block.failed.values()) > 3
    assert block.refusals == {"503": "busy", "500": ""}
    assert "503: busy" in block.why and "closed by the server" in block.why


def test_an_open_load_keeps_its_rate_and_counts_from_the_time_of_arrival(load):
    server = Server(answer(b"slow"), pieces=6)  # at least 25 ms

    block = load.block(server.port, load.requests("r", [wire.post("/", b"")]), clients=1, seconds=0.5, rate=100)

    assert len(block.ms) + block.unsent == 50
    assert block.unsent > 10
    assert block.ms[-1] > 100  # it came long before the one connection was free


def test_requests_of_the_protocol_hold_the_rows():
    rows = np.array([[1.5, 2.0]], np.float32)

    head, _, body = wire.oip("m", "x", rows).partition(b"\r\n\r\n")
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    assert head.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\n")
    assert json.loads(body)["inputs"] == [{**tensor, "data": [1.5, 2.0]}]

    head, _, body = wire.oip_binary("m", "x", rows).partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"inference-header-content-length: ")[2].split(b"\r\n")[0])
    assert json.loads(body[:size])["inputs"] == [{**tensor, "parameters": {"binary_data_size": 8}}]
    assert np.frombuffer(body[size:], np.float32).tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    "content",
    [{"outputs": [{"data": [1, 2]}]}, {"predictions": {"logits": [[1, 2]]}}, {"outputs": [{"data": [[1, 2]]}]}],
)
def test_the_numbers_of_an_answer_are_found_in_both_protocols(content):
    assert numbers(json.dumps(content).encode()) == [1, 2]


def test_a_ratio_is_the_median_over_neighbouring_blocks():
    def seen(*rates: int) -> Seen:
        return Seen([Block(1.0, np.ones(n), np.full(n, 200), 0, {}) for n in rates])

    assert seen(20, 40, 90).over(seen(10, 10, 10)) == 4
    assert seen(20, 40, 90).rate == 40
