"""Ten times what the server can give: what it takes on is answered in time, the rest is told so at once."""

import statistics
from dataclasses import dataclass

import numpy as np

from tasks.serving.served import Served
from tests.benchmarks import servers, wire
from tests.benchmarks.bench import Bench
from tests.benchmarks.load import Block, Load
from tests.benchmarks.served import models, publish, rows_of
from tests.benchmarks.table import Row

MODEL = "heavy"
TIMES = 10
DEADLINE_MS, QUEUE = 250.0, 64
CLIENTS, CONNECTIONS = 4, 256
ADMITTED = (200, 504)  # the second: taken on, and not answered in time
ROUNDS, CALM_S, STORM_S = 3, 2.0, 4.0


@dataclass(frozen=True)
class Round:
    """Some clients that wait for their answers, then arrivals that do not, then the first again."""

    before: Block
    storm: Block
    after: Block


def rows(bench: Bench) -> list[Row]:
    """Arrivals are scheduled by the clock, and latency counts from their times."""
    folder, made = bench.folder / "overload", models(bench)
    publish(folder / "root", MODEL, made / MODEL, Served(deadline_ms=DEADLINE_MS, queue=QUEUE))
    tensor, inputs = rows_of(made / MODEL)
    with Load(folder / "load") as load, servers.ours(folder / "root", folder / "ours.log") as server:
        requests = load.requests(MODEL, [wire.oip(MODEL, tensor, inputs[n : n + 1]) for n in range(len(inputs))])
        rounds = [_round(load, server.port, requests) for _ in range(ROUNDS)]
    return [*_kept(rounds), *_calm(rounds)]


def _round(load: Load, port: int, requests: str) -> Round:
    before = load.block(port, requests, CLIENTS, CALM_S)
    storm = load.block(port, requests, CONNECTIONS, STORM_S, rate=TIMES * before.rate)
    return Round(before, storm, load.block(port, requests, CLIENTS, CALM_S))


def _kept(rounds: list[Round]) -> list[Row]:
    storms = [each.storm for each in rounds]
    admitted = sum(int(np.isin(storm.statuses, ADMITTED).sum()) for storm in storms)
    kept = sum(int(((storm.statuses == 200) & (storm.ms <= DEADLINE_MS)).sum()) for storm in storms)
    refused = sum(int((storm.statuses == 503).sum()) for storm in storms)
    other = sum(len(storm.statuses) for storm in storms) - admitted - refused
    silent = sum(sum(storm.failed.values()) for storm in storms)
    gave = statistics.median(each.storm.rate / each.before.rate for each in rounds)
    sent = statistics.median(len(storm.statuses) / storm.seconds for storm in storms)
    worst = max(storm.quantile(0.999) for storm in storms)
    note = f"{admitted:,} of {admitted + refused + other:,} were; p99.9 {worst:.0f} ms of {DEADLINE_MS:.0f}"
    return [
        Row(f"{TIMES} x capacity: taken on and answered in time (%)", 100 * kept / max(admitted, 1), None, 99, note),
        Row("answers a second over those of a calm server", gave, at_least=0.5, note=f"{sent:,.0f} asked a second"),
        Row("refused without Retry-After", refused - sum(storm.retry_after for storm in storms), at_most=0),
        Row("answered with neither 200, 503 nor 504", other, at_most=0, note=_statuses(storms)),
        Row(
            "not answered at all", silent, at_most=0, note="; ".join({why for storm in storms for why in storm.failed})
        ),
        Row("arrivals that found no free connection", sum(storm.unsent for storm in storms)),
    ]


def _calm(rounds: list[Round]) -> list[Row]:
    bad = sum(each.after.bad for each in rounds)
    slower = statistics.median(each.after.quantile(0.5) / each.before.quantile(0.5) for each in rounds)
    capacity = statistics.median(each.before.rate for each in rounds)
    return [
        Row("afterwards: requests that failed", bad, at_most=0, note="; ".join({each.after.why for each in rounds})),
        Row("afterwards: p50 over p50 before", slower, at_most=1.5),
        Row(f"capacity, {CLIENTS} clients (requests/s)", capacity),
    ]


def _statuses(storms: list[Block]) -> str:
    """`200 812, 503 7,120`."""
    found = [int(status) for storm in storms for status in storm.statuses]
    return ", ".join(f"{status} {found.count(status):,}" for status in sorted(set(found)))
