"""Measure: how fast every candidate of one target answers. A barrier: nothing else of this machine's releases runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import Split
from tasks.evaluation.assess import CONTROL
from tasks.evaluation.gates import Gate
from tasks.evaluation.judge import undecided
from tasks.evaluation.latency import Samples
from tasks.execution.steps import Executor
from tasks.foundations.locks import hold, machine_lock
from tasks.foundations.record import Record
from tasks.runtimes import timing
from tasks.runtimes.samples import Contender, MeasureRequest
from tasks.runtimes.session import as_runtime
from tasks.store.artifact import Artifact


@task(name="measure", task_run_name="measure {place}", cache_policy=NO_CACHE, persist_result=False)
def measure(
    executor: Executor,
    place: str,
    target: Record,
    contenders: Mapping[str, tuple[str, Path]],
    split: Split,
    gates: Sequence[Gate],
    owner: str,
) -> Artifact:
    """Publish the latency samples of one target; never reused.

    Args:
        executor: of the release.
        place: name of the target.
        target: a choice of tasks/runtimes.
        contenders: name -> (digest, model folder); `float32` among them is measured a second time as the control.
        split: the test rows.
        gates: of the config: rounds are added while one of them is undecided.
        owner: who measures, for those who wait.
    """
    digests = {name: digest for name, (digest, _) in contenders.items()}
    folders = {name: folder for name, (_, folder) in contenders.items()}
    if "float32" in folders:
        folders[CONTROL] = folders["float32"]
    stage = f"measure {place}"

    def more(calls: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]) -> bool:
        asked = as_runtime(target)
        so_far = Samples(
            calls_ms=calls, batch_size=asked.batch_size, cost_per_hour=asked.cost_per_hour, control=CONTROL
        )
        return undecided(gates, so_far, place, digests)

    with executor.stage(stage), executor.store.scratch() as out:
        with hold(machine_lock("measure"), owner, on_wait=lambda who: executor.observer.log(f"{stage}: {who}")):
            request = MeasureRequest(
                contenders=tuple(Contender(name=name, folder=str(folder)) for name, folder in folders.items()),
                target=target,
                split=split,
                out=str(out),
            )
            timing.measure(request, more, lambda text: executor.observer.update(stage, None, text))
        artifact = executor.store.publish(out, "latency", {"step": stage, "models": digests})
    executor.digests.add(artifact.digest)
    return artifact
