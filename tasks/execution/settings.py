"""The `execution` section: how much of this machine a release may use."""

import os

from pydantic import Field

from tasks.foundations.record import Record
from tasks.foundations.worker_process import WorkerSettings


class Execution(Record):
    """How many worker processes, how long a step, how much memory."""

    workers: int | None = Field(
        None, ge=1, description="Worker processes at once; default one a core, at most one a candidate."
    )
    step_timeout_s: float = Field(3600, gt=0, description="Limit of one step in seconds; its worker is then killed.")
    machine_wait_s: float = Field(
        120,
        gt=0,
        description="How long the machine of a target with a `work_pool` may be silent: no worker that takes the work, "
        "or no sign of life of its run. Then its target has failed.",
    )
    memory_limit_gb: float | None = Field(
        None,
        gt=0,
        description="Memory of one worker in GB (10^9 bytes), mapped files not counted; default the machine's.",
    )

    def worker_settings(self, candidates: int, log: str) -> WorkerSettings:
        """Settings of the worker pool for a release with so many candidates."""
        cores = len(os.sched_getaffinity(0))
        count = self.workers or max(1, min(cores, candidates))
        limit = int(self.memory_limit_gb * 1e9) if self.memory_limit_gb else _memory_bytes()
        return WorkerSettings(count=count, threads=max(1, cores // count), memory_limit_bytes=limit, log=log)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
