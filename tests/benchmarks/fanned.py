"""A flow of 24 candidates on two targets that wait instead of computing, on a Dask cluster: what the engine costs.

`python -m tests.benchmarks.fanned ADDRESS` prints seconds from the first step to the end of the last one as JSON.
"""

import json
import os
import sys
import tempfile
import time

from flows import prefect_server
from flows.home import home, prepare_prefect

CANDIDATES = 24
TARGETS = ("cpu", "tfs")
COMPRESS_S = 3.0
EACH_S = 0.5  # predictions, and golden requests, of one candidate on one target
ALL_S = CANDIDATES * (COMPRESS_S + 2 * EACH_S * len(TARGETS))


def main(address: str) -> None:
    """Start as `release` does, run the flow, end."""
    place = home()
    prepare_prefect(place)
    server = prefect_server.start(place)
    from prefect import flow, task

    from flows.fan_out import dispatch_of
    from flows.storage import open_store
    from tasks.execution.settings import Execution
    from tasks.execution.steps import Executor, Step
    from tasks.foundations.workers import Workers
    from tests.benchmarks.silent import Silent
    from tests.flows.site_jobs import Errand

    execution = Execution(runner="dask", address=address)
    store, notes = open_store(place), tempfile.mkdtemp(dir=place.root)
    settings = execution.worker_settings(1, str(place.logs / "fanned.log"))
    if server is not None:
        server.wait()

    @task(persist_result=False)
    def step(executor: Executor, candidate: str, name: str, wait_s: float, after: object = None) -> str:
        text = f"{candidate} {name}"
        what = Step(name, "tests.flows.site_jobs:write", "test", {}, {"text": text}, ("store",), candidate=candidate)
        what = Step(**{**what.__dict__, "kind": "plain", "travels": True})
        request = {"notes": notes, "text": text, "wait_s": wait_s}
        return executor.produce(what, lambda _, out: Errand(out=str(out), **request)).digest

    @flow(persist_result=False)
    def fanned(executor: Executor) -> float:
        begin, ends = time.monotonic(), []
        for candidate in (f"c{number}" for number in range(CANDIDATES)):
            made = step.submit(executor, candidate, "compress", COMPRESS_S)
            ends += [
                step.submit(executor, candidate, f"{verb} {target}", EACH_S, made)
                for verb in ("predict", "rehearse")
                for target in TARGETS
            ]
        assert len({end.result() for end in ends}) == len(ends)
        return time.monotonic() - begin

    with (
        Workers(settings) as workers,
        dispatch_of(execution, store, Silent(), release=f"bench-{os.getpid()}", seed=0) as carrier,
    ):
        executor = Executor(store, workers, Silent(), seed=0, step_timeout_s=60, carrier=carrier)
        print(json.dumps(fanned(executor)))


if __name__ == "__main__":
    main(sys.argv[1])
