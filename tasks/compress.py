"""Compress: one technique of a candidate's chain, proved on the file that it wrote."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.data.dataset import open_dataset
from tasks.execution.steps import Executor, Step
from tasks.foundations.record import Record
from tasks.runtimes.environment import cpu_class
from tasks.store.artifact import Artifact
from tasks.techniques.apply import CompressRequest


@task(name="compress", task_run_name="compress {candidate}", cache_policy=NO_CACHE, persist_result=False)
def compress(executor: Executor, candidate: str, technique: Record, source: Artifact, dataset: Artifact) -> Artifact:
    """Apply one technique to an artifact of its level.

    Raises:
        NotApplicable: the technique cannot be applied to this model.
        ProofFailed: the file does not show what was asked.
    """
    settings = technique.model_dump(mode="json")
    step = Step(
        name=str(settings["kind"]),
        job="tasks.techniques.apply:compress",
        format="onnx",
        inputs={"source": source, "data": dataset},
        settings=settings,
        rooms=("techniques", "models", "data"),
        libraries=("onnx", "onnxruntime", "numpy"),
        candidate=candidate,
        cpu=cpu_class(),
    )
    split = open_dataset(executor.store.path(dataset.digest))["calibration"]
    return executor.produce(
        step,
        lambda out: CompressRequest(
            source=str(executor.store.path(source.digest)), technique=settings, calibration=split, out=str(out)
        ),
    )
