"""A thousand promotions and rollbacks of ten models under load, and rollbacks as a person sees them.

Moves are real: journal, staged copies, pointers, every server asked. Only trying a version before traffic is left out,
which starts a server of its own for seconds and is not what the clients of this one could notice.
"""

import http.client
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import psutil

from flows.control import open_control
from flows.home import Home
from tasks.promotion import moves
from tasks.promotion.control import Control
from tasks.store.store import Store
from tests.benchmarks import servers, wire
from tests.benchmarks.bench import Bench
from tests.benchmarks.load import Block, Load
from tests.benchmarks.process import run
from tests.benchmarks.sections.commands import settle
from tests.benchmarks.servers import Server
from tests.benchmarks.table import Row
from tests.benchmarks.versions import MODEL, ORDER, VERSIONS, asked, released, renamed

SWITCHES = 1000
CLIENTS = 8
BLOCK_S = 6.0
ROLLBACKS = 5
OLD, NEW = VERSIONS
NAMES = [f"{MODEL}-{number}" for number in range(10)]
REQUESTS = 60
WAIT_S, POLL_S = 30.0, 0.01


@dataclass
class Watched:
    """What was seen while production moved."""

    quiet: list[Block] = field(default_factory=list)
    busy: list[Block] = field(default_factory=list)
    moves_s: list[float] = field(default_factory=list)
    switch_ms: list[float] = field(default_factory=list)
    loaded: int = 0

    @property
    def blocks(self) -> list[Block]:
        """All of them."""
        return self.quiet + self.busy


def rows(bench: Bench) -> list[Row]:
    """Blocks with and without moves alternate."""
    home, folder = Home(released(bench)), bench.folder / "switching"
    control = replace(open_control(home, Store(str(home.store), home.store)), validate=False)
    models = renamed(control, folder / "bundles", NAMES)
    with Load(folder / "load") as load, servers.ours(home.serving, folder / "first.log") as first:
        switched = _switched(models, load, first)
        with servers.ours(home.serving, folder / "second.log") as second:
            return [*switched, _rolled_back(control, home, [first, second])]


def _switched(control: Control, load: Load, server: Server) -> list[Row]:
    requests = _requests(load, "current")
    turns = itertools.cycle((name, version) for version in (OLD, NEW) for name in NAMES)
    for name, version in itertools.islice(turns, 2 * len(NAMES)):
        _move(control, name, version)
    load.block(server.port, requests, CLIENTS, BLOCK_S)
    expected = {version: _own_answers(load, server, version) for version in VERSIONS}
    process, watched = psutil.Process(server.process.pid), Watched()
    before = process.memory_info().rss
    while len(watched.moves_s) < SWITCHES:
        watched.quiet.append(load.block(server.port, requests, CLIENTS, BLOCK_S, keep=True))
        watched.busy.append(_busy(control, load, server, watched, turns))
    watched.quiet.append(load.block(server.port, requests, CLIENTS, BLOCK_S, keep=True))
    growth = 100 * (process.memory_info().rss / before - 1)
    return [*_answers(watched, expected), *_times(watched), _memory(before, growth)]


def _requests(load: Load, file: str, version: int | None = None) -> str:
    """Other rows to every model in turn, in the same order for every version."""
    paths = [name if version is None else f"{name}/versions/{version}" for name in NAMES]
    bodies = [wire.oip(path, "image", asked()[n : n + 1]) for n, path in zip(range(REQUESTS), itertools.cycle(paths))]
    return load.requests(file, bodies)


def _move(control: Control, model: str, version: int) -> None:
    """To the new version by promotion, to the old one by rollback."""
    if version == NEW:
        moves.promote(control, model, NEW, ORDER)
    else:
        moves.rollback(control, model, ORDER, to=OLD)


def _busy(control: Control, load: Load, server: Server, watched: Watched, turns: Iterator[tuple[str, int]]) -> Block:
    """One block with moves from its begin to its end."""
    load.start(server.port, str(load.folder / "current.requests"), CLIENTS, BLOCK_S, keep=True)
    end = time.monotonic() + BLOCK_S
    while time.monotonic() < end and len(watched.moves_s) < SWITCHES:
        (name, version), begin = next(turns), time.monotonic()
        _move(control, name, version)
        watched.moves_s.append(time.monotonic() - begin)
        entry = server.status()[name]
        if entry["version"] != version:
            raise RuntimeError(f"A move of {name} to version {version} was done, and the server says {entry}.")
        watched.switch_ms.append(entry["switch_ms"])
        watched.loaded += entry["load_ms"] > 0
    return load.result()


def _own_answers(load: Load, server: Server, version: int) -> dict[int, bytes]:
    """What a version answers when it is asked by number."""
    requests = _requests(load, f"version-{version}", version)
    answers = load.block(server.port, requests, 1, 1.0, keep=True).answers
    found = dict(answers.keys())
    if not len(found) == len(answers) == REQUESTS:
        raise RuntimeError(f"Version {version} gave {len(answers)} different answers to {REQUESTS} requests.")
    return found


def _answers(watched: Watched, expected: dict[int, dict[int, bytes]]) -> list[Row]:
    count = sum(len(block.statuses) for block in watched.blocks)
    failed = sum(block.bad for block in watched.blocks)
    wrong, versions = 0, Counter[int]()
    for (number, body), times in (each for block in watched.blocks for each in block.answers.items()):
        version = next((version for version, own in expected.items() if own[number] == body), None)
        if version is None:
            wrong += times
        else:
            versions[version] += times
    note = f"{count:,} requests, {sum(len(block.statuses) for block in watched.busy):,} of them while switching"
    told = ", ".join(f"version {version}: {times:,}" for version, times in sorted(versions.items()))
    reasons = {block.why for block in watched.blocks if block.bad}
    return [
        Row(
            f"{len(watched.moves_s):,} switches of {len(NAMES)} models: failed requests",
            failed,
            0,
            note=f"{note} {'; '.join(reasons)}",
        ),
        Row("answers that are not, byte for byte, one version's own", wrong, at_most=0, note=told),
    ]


def _times(watched: Watched) -> list[Row]:
    quiet, busy = (statistics.median(each.quantile(0.999) for each in side) for side in (watched.quiet, watched.busy))
    rate, calm = (statistics.median(each.rate for each in side) for side in (watched.busy, watched.quiet))
    slowest = 1000 * max(watched.moves_s)
    note = f"{busy:.2f} / {quiet:.2f} ms; {rate:,.0f} and {calm:,.0f} requests/s"
    first, last = (_median_ms(each) for each in (watched.moves_s[:50], watched.moves_s[-50:]))
    moved = f"largest {slowest:.0f} ms; first 50 {first:.1f}, last 50 {last:.1f} ms"
    return [
        Row("p99.9 while switching over p99.9 without", busy / quiet, at_most=3, note=note),
        Row("switch of versions in memory, largest (ms)", max(watched.switch_ms), at_most=5),
        Row("switches that had to load", watched.loaded, at_most=0),
        Row("whole move, journal and all, median (ms)", _median_ms(watched.moves_s), note=moved),
    ]


def _median_ms(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)


def _memory(before: int, growth: float) -> Row:
    return Row("server's memory afterwards, growth (%)", growth, at_most=10, note=f"from {before / 1e6:.0f} MB")


def _rolled_back(control: Control, home: Home, nodes: list[Server]) -> Row:
    """From the start of the command to the last server's first answer from the version before."""
    took, whole = [], []
    for _ in range(ROLLBACKS):
        _move(control, MODEL, NEW)
        settle()
        watches = [Watch(server.port, str(OLD)) for server in nodes]
        begin = time.monotonic()
        whole.append(_roll_back(home))
        took.append(max(watch.at() for watch in watches) - begin)
        settle()
    note = f"runs {' '.join(f'{each:.2f}' for each in took)}; whole command {statistics.median(whole):.2f}"
    name = f"rollback by command until {len(nodes)} of {len(nodes)} servers answer so (s)"
    return Row(name, statistics.median(took), at_most=1, note=note)


def _roll_back(home: Home) -> float:
    words = ["flows", "rollback", MODEL, "--reason", "benchmark"]
    return run(words, {"SLIPWAY_HOME": str(home.root)}).wall_s


class Watch:
    """Asks a server's public port until a version answers."""

    def __init__(self, port: int, version: str) -> None:
        self._found = threading.Event()
        self._at = 0.0
        self._place = (port, version)
        self._request = json.dumps(
            {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 784], "data": [0.5] * 784}]}
        )
        threading.Thread(target=self._run, daemon=True).start()

    def at(self) -> float:
        """When, by `time.monotonic`.

        Raises:
            RuntimeError: it never did.
        """
        if not self._found.wait(WAIT_S):
            raise RuntimeError("A server did not answer with version {1} on port {0}.".format(*self._place))
        return self._at

    def _run(self) -> None:
        port, version = self._place
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            connection.request("POST", f"/v2/models/{MODEL}/infer", self._request)
            if json.load(connection.getresponse())["model_version"] == version:
                self._at = time.monotonic()
                self._found.set()
                return
            time.sleep(POLL_S)
