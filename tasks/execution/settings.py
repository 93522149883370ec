"""The `execution` section: which machines a release's candidates are made on, and how much of them it may use."""

import os
from typing import Literal

from pydantic import Field, model_validator

from tasks.foundations.record import Record
from tasks.foundations.worker_process import WorkerSettings


class Execution(Record):
    """Where candidates are made, how many worker processes, how long a step, how much memory."""

    runner: Literal["threads", "dask"] = Field(
        "threads",
        description="Where candidates are made: `threads`, on this machine; `dask`, on the workers of a Dask cluster.",
    )
    address: str | None = Field(
        None, min_length=1, description="The Dask cluster's scheduler, like tcp://10.0.0.5:8786; for `runner: dask`."
    )
    workers: int | None = Field(
        None, ge=1, description="Worker processes at once; default one a core, at most one a candidate."
    )
    step_timeout_s: float = Field(3600, gt=0, description="Limit of one step in seconds; its worker is then killed.")
    machine_wait_s: float = Field(
        120,
        gt=0,
        description="How long the machine of a target with a `work_pool` may be silent: no worker that takes the work, "
        "or no sign of life of its run. Then its target has failed. Also how long a Dask cluster may be without any "
        "worker.",
    )
    memory_limit_gb: float | None = Field(
        None,
        gt=0,
        description="Memory of one worker in GB (10^9 bytes), mapped files not counted; default the machine's.",
    )

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> "Execution":
        if self.runner == "dask" and self.address is None:
            raise ValueError("runner: dask needs the scheduler's address, like address: tcp://10.0.0.5:8786.")
        if self.runner != "dask" and self.address is not None:
            raise ValueError(f"address: {self.address} is for runner: dask, and the runner is {self.runner}.")
        return self

    def worker_settings(self, candidates: int, log: str) -> WorkerSettings:
        """Settings of the worker pool for a release with so many candidates."""
        cores = len(os.sched_getaffinity(0))
        count = self.workers or max(1, min(cores, candidates))
        limit = int(self.memory_limit_gb * 1e9) if self.memory_limit_gb else _memory_bytes()
        return WorkerSettings(count=count, threads=max(1, cores // count), memory_limit_bytes=limit, log=log)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
