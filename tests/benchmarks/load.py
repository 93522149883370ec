"""`python -m tests.benchmarks.load`: clients over HTTP, in a process of their own; orders on stdin, answers on stdout.

One thread and one epoll drive all connections and nothing is parsed but status and length, so that the clients take as
little of the machine as Python can: about what uvloop takes for a request, and less than asyncio's own loop (by up to
a quarter) or a thread a client (by up to a third). A *closed* load sends a client's next request when its last one is
answered. An *open* one sends at times fixed beforehand and counts latency from them, whatever the server does; arrivals
for which no connection is free wait.
"""

import gc
import json
import select
import socket
import struct
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.process import ROOT

STALLED_S = 30.0  # a connection that is silent for longer counts as failed
CHUNK = 1 << 16
POLL_S = 0.1


@dataclass(frozen=True)
class Block:
    """What a load saw.

    Attributes:
        seconds: from the first request to the last answer.
        ms: latency of each answer.
        statuses: HTTP status of each answer.
        retry_after: answers that had the header.
        failed: requests without an answer, and why.
        unsent: arrivals of an open load that found no free connection until its end.
        answers: (number of the request, its answer with status 200) -> how often; only where they were asked for.
        refusals: another status -> the beginning of one answer that had it.
    """

    seconds: float
    ms: np.ndarray[Any, Any]
    statuses: np.ndarray[Any, Any]
    retry_after: int
    failed: dict[str, int]
    unsent: int = 0
    answers: dict[tuple[int, bytes], int] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers with status 200, a second."""
        return int((self.statuses == 200).sum()) / self.seconds

    def quantile(self, share: float) -> float:
        """Of the latencies of answers with status 200."""
        good = self.ms[self.statuses == 200]
        return float(np.quantile(good, share)) if len(good) else float("nan")

    @property
    def why(self) -> str:
        """What was wrong with those that are `bad`."""
        return "; ".join([*self.failed, *(f"{status}: {text}" for status, text in self.refusals.items())])

    @property
    def bad(self) -> int:
        """Requests that failed or were answered by another status than 200."""
        return sum(self.failed.values()) + int((self.statuses != 200).sum())


class Load:
    """The clients' process, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Load":
        words = [sys.executable, "-m", "tests.benchmarks.load"]
        self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()

    def requests(self, name: str, bodies: list[bytes]) -> str:
        """Write requests where the clients read them; its path."""
        path = self.folder / f"{name}.requests"
        path.write_text(json.dumps([body.decode("latin-1") for body in bodies]))
        return str(path)

    def block(self, port: int, requests: str, clients: int, seconds: float, **more: Any) -> Block:
        """Load a port of this machine; `more` may be `rate`, arrivals a second, and `keep`, to get answers."""
        self.start(port, requests, clients, seconds, **more)
        return self.result()

    def start(self, port: int, requests: str, clients: int, seconds: float, **more: Any) -> None:
        """As `block`, without waiting for its end."""
        out = str(self.folder / "block.npz")
        order = {"port": port, "requests": requests, "clients": clients, "seconds": seconds, "out": out, **more}
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def result(self) -> Block:
        """What the load that was started saw."""
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The clients' process ended with {self._process.wait()}.")
        answer = json.loads(line)
        answers = {(number, text.encode("latin-1")): count for number, text, count in answer.pop("answers")}
        with np.load(self.folder / "block.npz") as arrays:
            return Block(**answer, ms=arrays["ms"], statuses=arrays["statuses"], answers=answers)


def main() -> None:
    """Serve orders until stdin ends."""
    cache: dict[str, list[bytes]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        path = order["requests"]
        if path not in cache:
            cache[path] = [text.encode("latin-1") for text in json.loads(Path(path).read_text())]
        clients = Clients(order["port"], cache[path], order["clients"], order.get("keep", False))
        gc.collect()
        gc.disable()
        rate = order.get("rate")
        answer = clients.open(order["seconds"], rate) if rate else clients.closed(order["seconds"])
        gc.enable()
        np.savez(order["out"], ms=np.array(clients.ms), statuses=np.array(clients.statuses))
        print(json.dumps(answer), flush=True)


class Connection:
    """One connection and the request that is on its way."""

    __slots__ = ("asked", "buffer", "number", "port", "sent", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.port = port
        self.number = 0
        self.sent = 0.0
        self.connect()

    def connect(self) -> None:
        """A new connection."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=STALLED_S)
        self.socket.settimeout(None)  # Python's own timeouts cost a system call more for every read and write
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(STALLED_S), 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clear()

    def clear(self) -> None:
        """Ready for the next answer."""
        self.buffer = b""
        self.wanted = 0
        self.asked = False

    def receive(self) -> bool:
        """Read what is there; whether the answer is whole."""
        chunk = self.socket.recv(CHUNK)
        if not chunk:
            raise ConnectionError("closed by the server")
        self.buffer = self.buffer + chunk if self.buffer else chunk
        if not self.wanted:
            self.wanted = length_of(self.buffer)
        return 0 < self.wanted <= len(self.buffer)


def length_of(answer: bytes) -> int:
    """Bytes of an answer with its head, 0 while the head is not whole."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = answer[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ConnectionError("an answer without Content-Length")
    return end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])


class Clients:
    """All connections of one block."""

    def __init__(self, port: int, requests: list[bytes], clients: int, keep: bool) -> None:
        self.requests = requests
        self.keep = keep
        self.ms = array("d")
        self.statuses = array("i")
        self.retry_after = 0
        self.failed: Counter[str] = Counter()
        self.answers: Counter[tuple[int, bytes]] = Counter()
        self.refusals: dict[str, str] = {}
        self.next = 0
        self.epoll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.free: deque[Connection] = deque()
        for _ in range(clients):
            connection = Connection(port)
            self.watch(connection)
            self.free.append(connection)

    def watch(self, connection: Connection) -> None:
        """Hear when there is something to read."""
        self.connections[connection.socket.fileno()] = connection
        self.epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def closed(self, seconds: float) -> dict[str, Any]:
        """As many requests on their way as there are clients."""
        begin = time.perf_counter()
        end = begin + seconds
        while True:
            now = time.perf_counter()
            while self.free and now < end:
                self.send(self.free.popleft(), time.perf_counter())
            if len(self.free) == len(self.connections):
                return self.result(time.perf_counter() - begin)
            self.hear(POLL_S)

    def open(self, seconds: float, rate: float) -> dict[str, Any]:
        """Arrivals at times fixed beforehand."""
        begin = time.perf_counter()
        total, due, over = int(seconds * rate), 0, False
        while not (over or due == total) or len(self.free) < len(self.connections):
            now = time.perf_counter()
            over = now >= begin + seconds  # what has found no connection by then is not sent any more
            while not over and self.free and due < total and begin + due / rate <= now:
                self.send(self.free.popleft(), begin + due / rate)
                due += 1
            waits = not over and self.free and due < total
            self.hear(max(begin + due / rate - time.perf_counter(), 0.0) if waits else POLL_S)
        return self.result(time.perf_counter() - begin, total - due)

    def send(self, connection: Connection, at: float) -> None:
        """The next request, its latency counted from `at`."""
        connection.sent = at
        connection.asked = True
        connection.number = self.next
        self.next = (self.next + 1) % len(self.requests)
        try:
            connection.socket.sendall(self.requests[connection.number])
        except OSError as error:
            self.fail(connection, error)

    def hear(self, timeout: float) -> None:
        """Take what has arrived; a connection that is alone is read from without asking whether it can be."""
        alone = len(self.connections) == 1 and not self.free
        events = list(self.connections) if alone else [descriptor for descriptor, _ in self.epoll.poll(timeout)]
        for descriptor in events:
            connection = self.connections[descriptor]
            try:
                if connection.receive():
                    self.take(connection)
            except OSError as error:
                if connection.asked:
                    self.fail(connection, error)
                else:
                    self.again(connection)  # the server may close what is idle
        if not events:
            self.drop_stalled()

    def take(self, connection: Connection) -> None:
        """An answer is whole."""
        self.ms.append((time.perf_counter() - connection.sent) * 1000)
        answer = connection.buffer
        status = int(answer[9:12])
        self.statuses.append(status)
        connection.clear()
        if status != 200:
            self.refuse(connection, status, answer)
        elif self.keep:
            self.answers[connection.number, answer.partition(b"\r\n\r\n")[2]] += 1
        self.free.append(connection)

    def refuse(self, connection: Connection, status: int, answer: bytes) -> None:
        """An answer with another status than 200."""
        head, _, body = answer.partition(b"\r\n\r\n")
        self.retry_after += b"\r\nretry-after:" in head.lower()
        self.refusals.setdefault(str(status), body[:200].decode(errors="replace"))
        if b"\r\nconnection: close" in head.lower():
            self.again(connection)

    def fail(self, connection: Connection, error: OSError) -> None:
        """A request without an answer."""
        self.failed[f"{type(error).__name__}: {error}"] += 1
        self.again(connection)
        self.free.append(connection)

    def again(self, connection: Connection) -> None:
        """Connect anew."""
        self.epoll.unregister(connection.socket.fileno())
        del self.connections[connection.socket.fileno()]
        connection.socket.close()
        connection.connect()
        self.watch(connection)

    def drop_stalled(self) -> None:
        """Give up what is silent."""
        now = time.perf_counter()
        for connection in list(self.connections.values()):
            if connection.asked and now - connection.sent > STALLED_S:
                self.fail(connection, TimeoutError(f"silent for {STALLED_S:.0f} s"))

    def result(self, seconds: float, unsent: int = 0) -> dict[str, Any]:
        """Everything but the arrays."""
        for connection in self.connections.values():
            connection.socket.close()
        self.epoll.close()
        answers = [[number, body.decode("latin-1"), count] for (number, body), count in self.answers.items()]
        counts = {"retry_after": self.retry_after, "failed": dict(self.failed), "unsent": unsent}
        return {"seconds": seconds, **counts, "answers": answers, "refusals": self.refusals}


if __name__ == "__main__":
    main()
