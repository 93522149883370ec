"""What a node counts, in Prometheus' form. Labels are names of models it serves and fixed words, never a client's.

With several processes on one port every process writes its counts to a folder that all share (prometheus_client's
multiprocess mode, switched on by PROMETHEUS_MULTIPROC_DIR), so that whichever answers a scrape tells the sum.
"""

import asyncio
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

SHARED = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
SECONDS = (
    0.00002,
    0.00005,
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)
TOGETHER = 32
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class Metrics:
    """All families of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # times of birth, a line for every line that tells something
        self.registry = CollectorRegistry()
        names: dict[str, Any] = {"registry": self.registry, "namespace": "slipway"}
        self.requests = Counter("requests", "Requests by answer.", ("model", "protocol", "code"), **names)
        self.seconds = Histogram(
            "request_seconds", "From a whole request to its answer.", ("model", "protocol"), buckets=SECONDS, **names
        )
        self.rejected = Counter("rejected", "Requests without an answer of a model.", ("model", "reason"), **names)
        self.run_seconds = Histogram("run_seconds", "One call of a model.", ("model",), buckets=SECONDS, **names)
        self.run_rows = Histogram("run_rows", "Rows of one call.", ("model",), buckets=ROWS, **names)
        self.waiting = Gauge("waiting", "Requests in line.", ("model",), multiprocess_mode="livesum", **names)
        newest: dict[str, Any] = {"multiprocess_mode": "livemostrecent", **names}
        self.version = Gauge("version", "The version that answers; 0 for none.", ("model",), **newest)
        self.serial = Gauge("serial", "The move that is served.", ("model",), **newest)
        self.failing = Gauge(
            "failing",
            "1 while the newest pointer cannot be followed.",
            ("model",),
            multiprocess_mode="livemax",
            **names,
        )
        self.switches = Counter("switches", "Switches to another version.", ("model",), **names)
        self.failures = Counter("failed_loads", "Versions that took no traffic.", ("model",), **names)
        self.load_seconds = Gauge("load_seconds", "Of the last load.", ("model",), **newest)
        self.switch_seconds = Gauge("switch_seconds", "Of the last switch.", ("model",), **newest)
        self._register_process()

    def text(self) -> bytes:
        """What a scrape gets."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _register_process(self) -> None:
        from prometheus_client import PlatformCollector, ProcessCollector

        if SHARED not in os.environ:  # there they would be those of whichever process answers
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)


@dataclass
class ModelMetrics:
    """The families of one model.

    Labels are bound, because looking them up takes longer than counting, and answers and calls are noted and counted
    `TOGETHER`: one by one, counting takes a fifth of what a small request costs.
    """

    all: Metrics
    name: str
    _bound: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _answers: list[tuple[str, int, float]] = field(default_factory=list)
    _runs: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run_seconds = self.all.run_seconds.labels(self.name)
        self.run_rows = self.all.run_rows.labels(self.name)
        self.all.failing.labels(self.name).set(0)
        for counted in (self.all.switches, self.all.failures):  # from 0 on, or `increase()` does not see the first
            counted.labels(self.name)

    def answered(self, protocol: str, code: int, seconds: float) -> None:
        """A request got its answer."""
        self._answers.append((protocol, code, seconds))
        if len(self._answers) == TOGETHER:  # in the next turn: the answer is not on its way yet
            asyncio.get_running_loop().call_soon(self.count)

    def rejected(self, reason: str) -> None:
        """A request got no answer of the model."""
        self.all.rejected.labels(self.name, reason).inc()

    def ran(self, seconds: float, rows: int) -> None:
        """The model was called."""
        self._runs.append((seconds, rows))
        if len(self._runs) == TOGETHER:
            asyncio.get_running_loop().call_soon(self.count)

    def count(self) -> None:
        """Count what was noted."""
        answers, self._answers = self._answers, []
        runs, self._runs = self._runs, []
        for protocol, code, seconds in answers:
            requests, histogram = self._pair(protocol, code)
            requests.inc()
            histogram.observe(seconds)
        for seconds, rows in runs:
            self.run_seconds.observe(seconds)
            self.run_rows.observe(rows)

    def switched(self, version: int, serial: int, load_s: float, switch_s: float) -> None:
        """Another version answers."""
        self.all.switches.labels(self.name).inc()
        self.all.version.labels(self.name).set(version)
        self.all.load_seconds.labels(self.name).set(load_s)
        self.all.switch_seconds.labels(self.name).set(switch_s)
        self.moved(serial)

    def moved(self, serial: int) -> None:
        """The pointer is followed."""
        self.all.serial.labels(self.name).set(serial)
        self.all.failing.labels(self.name).set(0)

    def failed(self, loaded: bool) -> None:
        """The pointer cannot be followed, `loaded` if its version was tried."""
        if loaded:
            self.all.failures.labels(self.name).inc()
        self.all.failing.labels(self.name).set(1)

    def withdrawn(self) -> None:
        """Nothing answers any more."""
        self.all.version.labels(self.name).set(0)

    def waits(self, waiting: int) -> None:
        """So many requests are in line."""
        self.all.waiting.labels(self.name).set(waiting)

    def _pair(self, protocol: str, code: int) -> Any:
        key = (protocol, str(code))
        if key not in self._bound:
            self._bound[key] = (
                self.all.requests.labels(self.name, protocol, str(code)),
                self.all.seconds.labels(self.name, protocol),
            )
        return self._bound[key]


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    """Those of this process."""
    return Metrics()
